"""Tooling of this repository: ``python3 -m dev demo``, ``python3 -m dev test``, ``python3 -m dev lock``."""
