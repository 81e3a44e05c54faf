"""Many runs side by side: one table, one figure. No torch."""
