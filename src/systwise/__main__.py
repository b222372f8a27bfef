"""`python -m systwise`."""

from systwise.cli import main

if __name__ == "__main__":
    main()
