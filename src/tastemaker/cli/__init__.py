"""The command line: `tastemaker VERB`."""

__all__ = ["main"]


def main() -> None:
    """Runs the command line; if a package is missing, exits with its name and the fix."""
    try:
        from tastemaker.cli.app import main as run
    except Exception:
        from tastemaker.cli.doctor import report_missing_packages

        report_missing_packages()
        raise  # no known problem was found
    run()
