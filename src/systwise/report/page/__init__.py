"""The report as a page, a folder and terminal output."""
