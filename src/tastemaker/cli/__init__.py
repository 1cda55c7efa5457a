"""The command line: `tastemaker VERB`."""

from tastemaker.cli.app import main

__all__ = ["main"]
