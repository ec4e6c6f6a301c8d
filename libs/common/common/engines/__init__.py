"""The real engines, installed with pip: for the embedded stack and for tests. Production runs its own."""
