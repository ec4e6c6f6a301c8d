"""The `tallyrun` command, by subject: data on stdout, everything else on stderr."""
