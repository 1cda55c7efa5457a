"""Numbers and states in words, the same everywhere on the page."""

_MINUS = "\N{MINUS SIGN}"


def count(value: int) -> str:
    """How many.

    >>> count(2976)
    '2,976'
    """
    return f"{value:,}"


def number(value: float | None) -> str:
    """A quantity to three digits.

    >>> number(-1.04064), number(12345.6), number(None)
    ('−1.04', '12,346', 'unknown')
    """
    if value is None:
        return "unknown"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", _MINUS)


def signed(value: float) -> str:
    """A weight, with its sign.

    >>> signed(0.2152), signed(-0.05)
    ('+0.215', '−0.050')
    """
    return f"{value:+.3f}".replace("-", _MINUS)


def milliseconds(value: float) -> str:
    """A duration.

    >>> milliseconds(0.456), milliseconds(41.2), milliseconds(0.0)
    ('0.46 ms', '41 ms', '0.00 ms')
    """
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2f} ms"
