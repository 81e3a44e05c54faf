"""The training loop: a generator of events that knows no disk, bar or tracker."""
