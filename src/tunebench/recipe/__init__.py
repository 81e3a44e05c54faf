"""The only place where settings exist: what a recipe may say, how it is read, what it resolves to."""
