"""CSV files whose cells no spreadsheet runs as a formula, whatever text strangers have sent."""

import polars as pl

_STARTS = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
FORMULA = rf"^'*{_STARTS}"
"""A text that a spreadsheet would run, or that looks like one whose start was marked."""
NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
"""A number with a sign runs nothing; ids such as -5 stay as they are."""


def for_spreadsheets(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a `'` before each text that a spreadsheet would take for a formula.

    Those are texts that begin with `=`, `+`, `-`, `@` (also in full width), a tab or a line break,
    also after any number of `'`; plain numbers such as -5 stay as they are. Nothing is lost: remove
    the first `'` of each cell that begins with one or more `'` and then one of these characters.

    Args:
        frame: about to be written as CSV; columns that are not text stay as they are.
    """
    texts = [pl.col(name) for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        pl.when(is_marked(text)).then(pl.lit("'") + text).otherwise(text).name.keep()
        for text in texts
    )


def is_marked(text: pl.Expr) -> pl.Expr:
    """Whether `for_spreadsheets` puts a mark before a text."""
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
