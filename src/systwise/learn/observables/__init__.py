"""What strategies leave behind: scores of events that templates can be made of."""
