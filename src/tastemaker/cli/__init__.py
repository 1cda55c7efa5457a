"""The command line: `tastemaker VERB`."""

__all__ = ["main"]


def main() -> None:
    """Runs the command line; where a package is missing, tells which one and the fix."""
    try:
        from tastemaker.cli.app import main as run
    except Exception:
        from tastemaker.cli.doctor import look_without_packages

        look_without_packages()
        raise  # nothing that is known to go wrong
    run()
