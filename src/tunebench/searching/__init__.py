"""What a search runs: trials of one recipe, each a training in a process of its own, judged on the validation rows. No torch."""
