"""Detection of the time format of a text column, based on the whole sample."""

import polars as pl

ISO = "iso"
_ISO = (
    r"^\s*\d{4}-\d\d(?:-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
    r"(?: ?(?:[zZ]|UTC|[+-]\d\d:?(?:\d\d)?))?)?)?\s*$"
)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S%.f", "T%H:%M:%S")
_DATES = (
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %B %Y",
    "%m %d, %Y",
    "%d/%m/%y",
    "%m/%d/%y",
)
_OTHERS = ("%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z")
FORMS = (*(date + clock for date in _DATES for clock in _CLOCKS), *_OTHERS)
NEEDED = 0.98
_DISTINCT = 2_000


def time_form(column: pl.Series, needed: float = NEEDED) -> str | None:
    """The format of a column of times.

    Args:
        column: text; other types have no format.
        needed: the share of the distinct values that must match.

    Returns:
        `iso`, or the `strptime` pattern that most of the distinct values match; None if too few
        match.
    """
    if column.dtype != pl.String:
        return None
    texts = column.drop_nulls().str.strip_chars()
    texts = texts.filter(texts != "").unique(maintain_order=True).head(_DISTINCT)
    if not texts.len():
        return None
    if float(texts.str.contains(_ISO).mean()) >= needed:  # type: ignore[arg-type]
        return ISO
    if float(texts.str.contains(r"\d").mean()) < needed:  # type: ignore[arg-type]
        return None
    fits = {form: _share(texts.head(50), form) for form in FORMS}
    likely = [form for form, share in fits.items() if share >= 0.9 * needed]
    shares = {form: _share(texts, form) for form in likely}
    best = max(shares, key=lambda form: shares[form], default=None)
    return best if best is not None and shares[best] >= needed else None


def is_ambiguous(column: pl.Series, form: str) -> bool:
    """Whether day and month could be swapped in every value."""
    swapped = form.replace("%m", "%D").replace("%d", "%m").replace("%D", "%d")
    texts = column.drop_nulls().str.strip_chars().unique().head(_DISTINCT)
    return swapped != form and swapped in FORMS and _share(texts, swapped) == _share(texts, form)


def _share(texts: pl.Series, form: str) -> float:
    """The share of texts that match a pattern."""
    years = texts.str.to_datetime(form, strict=False, time_unit="us").dt.year()
    return float(years.is_between(1900, 2200).sum()) / max(texts.len(), 1)
