"""`python -m reelspace.cli` is `reelspace`."""

from reelspace.cli.main import main

if __name__ == "__main__":
    main()
