"""The same four services on real engines, without Docker."""
