"""The command group; its usage errors are safe to print."""

from typing import Any

from typer.core import TyperGroup

from tastemaker.printable import printable


class Commands(TyperGroup):
    """Escapes the arguments in usage errors, which the parser repeats unchanged."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parses the options before the command."""
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
