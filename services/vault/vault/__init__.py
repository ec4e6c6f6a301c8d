"""The only place that opens a provider key."""
