"""What an operator types: `vault`, or `python -m vault`."""
