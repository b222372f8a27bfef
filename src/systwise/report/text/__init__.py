"""Sentences and numbers."""
