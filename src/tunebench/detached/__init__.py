"""Commands that go on without whoever started them, one after another. No torch."""
