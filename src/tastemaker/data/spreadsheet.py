"""CSV files whose cells no spreadsheet runs as a formula, whatever text strangers have sent."""

import polars as pl

_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_CELL = r"(^|[;\t|\r\n])(\s*)"
"""Where a cell may begin: other locales separate cells by semicolons, other programs by tabs."""
FORMULA = rf"{_CELL}('*{_SIGNS})"
"""The start of what a spreadsheet would run, or of what looks like one that was marked."""
NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
"""A number with a sign runs nothing; ids such as -5 stay as they are."""


def for_spreadsheets(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a `'` before each text that a spreadsheet would take for a formula.

    A formula begins with `=`, `+`, `-` or `@` (also in full width): at the beginning of a text, or
    inside it after a semicolon, a tab, a vertical bar or a line break, since a spreadsheet that
    expects these between cells makes a cell of what follows. Blanks and any number of `'` may stand
    before it. Plain numbers such as -5 stay as they are. Nothing is lost: remove one `'` in each of
    these places where there is one.

    Args:
        frame: about to be written as CSV; columns that are not text stay as they are.
    """
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    marked = r"${1}${2}'${3}"
    return frame.with_columns(
        pl.when(is_marked(text))
        .then(text.str.replace_all(FORMULA, marked))
        .otherwise(text)
        .name.keep()
        for text in texts
    )


def is_marked(text: pl.Expr) -> pl.Expr:
    """Whether `for_spreadsheets` puts a mark into a text."""
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
