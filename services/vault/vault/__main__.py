"""`python -m vault`."""

from vault.command.app import main

if __name__ == "__main__":
    main()
