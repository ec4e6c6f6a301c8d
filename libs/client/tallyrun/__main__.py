"""`tallyrun`, or `python -m tallyrun`."""

from tallyrun.command.app import main

if __name__ == "__main__":
    main()
