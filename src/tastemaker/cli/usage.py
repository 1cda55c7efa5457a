"""The group of all commands; what it says of a wrong command line is safe to print."""

from typing import Any

from typer.core import TyperGroup

from tastemaker.printable import printable


class Verbs(TyperGroup):
    """Escapes in errors of usage what the caller wrote; the parser repeats it as it is."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Reads the options that stand before the command."""
        try:
            return super().make_context(*arguments, **options)
        except Exception as problem:
            _escape(problem)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except Exception as problem:
            _escape(problem)
            raise


def _escape(problem: Exception) -> None:
    if isinstance(message := getattr(problem, "message", None), str):
        problem.message = printable(message)  # type: ignore[attr-defined]
