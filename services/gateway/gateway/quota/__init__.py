"""What a workspace may use: runs at a rate, runs that wait, bytes that are kept."""
