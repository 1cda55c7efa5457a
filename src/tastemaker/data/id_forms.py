"""What an id may look like, as patterns for Polars and for `re` alike."""

MISSING = r"^\s*(?:[nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|NA|#?N/A|NaT|-|\\N)?\s*$"
"""Blank, or a usual word for null."""
CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""A character that no new id may hold: controls (C0, DEL, C1) and line breaks."""
FLOAT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"
"""A float, which is not an id."""
WHOLE_FLOAT = r"^(-?\d+)\.0+$"
"""An integer that was written as a float, such as 17850.0; the group is the id."""
EXACT = 1 << 53
"""Below it a float64 holds every whole number."""
