"""How a score is cut into bins."""
