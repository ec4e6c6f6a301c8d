"""HTTP in: accept runs, wait for replies, serve answers."""
