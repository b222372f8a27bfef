"""One file a strategy; a new file here is found by its `STRATEGIES.register`."""
