"""`python -m tastemaker`, the same as `tastemaker`."""

from tastemaker.cli import main

if __name__ == "__main__":
    main()
