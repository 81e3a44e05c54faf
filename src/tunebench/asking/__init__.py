"""Questions to opened models, answered by a process beside the one that asks."""
