"""Protection of CSV files against formula injection by untrusted text."""

import polars as pl

_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_CELL = r"(^|[;\t|\r\n])(\s*)"
"""Where a cell may start: some locales separate cells by semicolons, some programs by tabs."""
FORMULA = rf"{_CELL}('*{_SIGNS})"
"""The start of a formula, or of text that looks like a marked formula."""
NUMBER = r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$"
"""A signed number is not a formula; ids such as -5 are not changed."""


def for_spreadsheets(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a `'` before each text that a spreadsheet would interpret as a formula.

    A formula starts with `=`, `+`, `-` or `@` (also full-width), at the start of a text or after a
    semicolon, a tab, a vertical bar or a line break, which some spreadsheets treat as cell
    separators. Blanks and any number of `'` may precede it. Plain numbers such as -5 are not
    changed. The marking is reversible: remove one `'` at each of these places.

    Args:
        frame: the frame to write as CSV; columns that are not text are not changed.
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
    """Whether `for_spreadsheets` marks a text."""
    return text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
