"""The resources of the mocked API: one module for each kind of object, with its endpoints."""
