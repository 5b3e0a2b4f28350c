"""Runs and batches as pages: one HTML file each, without scripts and without requests to anywhere."""
