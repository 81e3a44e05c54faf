"""What a comparison runs: recipes under several seeds as cells, each trained and timed in a process of its own. No torch."""
