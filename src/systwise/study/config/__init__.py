"""What decides a study: settings, their layers, and their files."""
