"""Runs the command line: `python -m tastemaker` is the same as `tastemaker`."""

from tastemaker.cli import main

if __name__ == "__main__":
    main()
