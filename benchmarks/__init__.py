"""Ratios to other libraries: ``python3 -m dev bench``; a comparison is one file in ``rows/``, see ``row.py``."""
