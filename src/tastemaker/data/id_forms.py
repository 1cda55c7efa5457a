"""Patterns of ids, for Polars and for `re`."""

MISSING = r"^\s*(?:[nN][aA][nN]|[nN][uU][lL][lL]|[nN]one|<NA>|NA|#?N/A|NaT|-|\\N)?\s*$"
"""Blank, or a common word for null."""
CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""Characters that new ids must not contain: controls (C0, DEL, C1) and line breaks."""
FLOAT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"
"""A float, which is not a valid id."""
WHOLE_FLOAT = r"^(-?\d+)\.0+$"
"""An integer written as a float, such as 17850.0; the group is the id."""
EXACT = 1 << 53
"""Below this bound, float64 represents every whole number exactly."""
