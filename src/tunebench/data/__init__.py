"""Text and labels without tensors: reading files, splitting rows, naming labels."""
