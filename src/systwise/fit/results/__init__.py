"""What a fit says, and what is read off it: pulls, impacts, parts of the uncertainty, a second opinion."""
