"""A study made ready: events loaded and checked, strategies and true points fixed."""
