"""HTTP in, by subject."""
