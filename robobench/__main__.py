"""`python -m robobench`: the command line without its script."""

from robobench.cli.main import main

if __name__ == "__main__":
    main()
