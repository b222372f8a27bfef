"""The training loop, its games, tasks and batches."""
