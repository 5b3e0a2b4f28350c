"""One file for each comparison, with one ``ROW``."""
