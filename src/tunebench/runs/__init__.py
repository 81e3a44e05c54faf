"""The run directory and the cache: what was said, saved and proved, readable without torch."""
