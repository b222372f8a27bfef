"""What a strategy observes, and what is fitted with it."""
