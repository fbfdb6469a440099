"""`python -m lsr` is the command line."""

from lsr.cli import main

if __name__ == "__main__":
    main()
