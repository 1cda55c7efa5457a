"""What JSON can hold, in few bytes: objects that are alike become columns, float32 numbers bytes.

A list becomes a list that begins with what it is; everything else stays what it was.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EMPTY, _SAME, _TEXTS, _FLOATS, _OBJECTS, _LISTS, _VALUES = "-=tfolv"
_FIRST_SIGN = ord("0")
_MOST_SIGNS = 60  # up to the sign before "{", none of which JSON escapes but the backslash
_ESCAPED = ord("\\")


def packed(value: Any, numbers: list[float]) -> Any:
    """A value as JSON that packs better.

    Args:
        value: what JSON can hold, also NaN.
        numbers: takes the numbers of lists that are float32 throughout; they are not in the JSON.
    """
    if isinstance(value, dict):
        return {name: packed(entry, numbers) for name, entry in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if not value:
        return [_EMPTY]
    kinds = set(map(type, value))
    if kinds == {dict}:
        return [_OBJECTS, len(value), _columns(value, numbers)]
    if kinds == {list}:
        lengths = packed([len(entry) for entry in value], numbers)
        return [_LISTS, lengths, packed([one for entry in value for one in entry], numbers)]
    # 1, 1.0 and True are three things, and so are 0.0 and −0.0
    if len(kinds) == 1 < len(value) == value.count(value[0]) and value[0] != 0.0:
        return [_SAME, len(value), value[0]]
    if kinds == {float} and _are_float32(value):
        numbers += value
        return [_FLOATS, len(value)]
    if kinds == {str}:
        distinct = list(dict.fromkeys(value))
        if len(distinct) <= min(_MOST_SIGNS, len(value) - 1):
            sign = {text: _sign(place) for place, text in enumerate(distinct)}
            return [_TEXTS, "".join(sign[text] for text in value), *distinct]
    nested = kinds & {dict, list, tuple}
    return [_VALUES, *([packed(entry, numbers) for entry in value] if nested else value)]


def unpacked(value: Any, numbers: NDArray[np.float32]) -> Any:
    """What was packed.

    Args:
        value: what `packed` returned.
        numbers: what it put aside, at least.

    Raises:
        ValueError, TypeError, KeyError or IndexError: it is nothing that `packed` returned.
    """
    try:
        return _unpacked(value, iter(numbers.tolist()))
    except StopIteration:
        raise ValueError("something is missing") from None


def _columns(rows: Sequence[dict[str, Any]], numbers: list[float]) -> dict[str, Any]:
    """Name → which rows have it (all: 1), and what they have."""
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        has = [name in row for row in rows]
        entries = packed([row[name] for row in rows if name in row], numbers)
        columns[name] = [1 if all(has) else "".join("01"[one] for one in has), entries]
    return columns


def _unpacked(value: Any, numbers: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unpacked(entry, numbers) for name, entry in value.items()}
    if not isinstance(value, list):
        return value
    kind, *told = value
    if kind == _EMPTY:
        return []
    if kind == _OBJECTS:
        return _rows(told[0], told[1], numbers)
    if kind == _LISTS:
        lengths, flat = (iter(_unpacked(one, numbers)) for one in told)
        return [[next(flat) for _ in range(length)] for length in lengths]
    if kind == _SAME:
        return [told[1]] * told[0]
    if kind == _FLOATS:
        return [next(numbers) for _ in range(told[0])]
    if kind == _TEXTS:
        text_of = {_sign(place): text for place, text in enumerate(told[1:])}
        return [text_of[sign] for sign in told[0]]
    if kind == _VALUES:
        return [_unpacked(entry, numbers) for entry in told]
    raise ValueError(f"no kind of list is called {kind!r}")


def _rows(n: int, columns: dict[str, Any], numbers: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in range(n)]
    for name, (has, entries) in columns.items():
        having = rows if has == 1 else [row for row, one in zip(rows, has) if one == "1"]
        for row, entry in zip(having, _unpacked(entries, numbers), strict=True):
            row[name] = entry
    return rows


def _are_float32(values: Sequence[float]) -> bool:
    numbers = np.array(values)
    with np.errstate(over="ignore"):
        return bool(((numbers.astype(np.float32) == numbers) | np.isnan(numbers)).all())


def _sign(place: int) -> str:
    code = _FIRST_SIGN + place
    return chr(code if code < _ESCAPED else code + 1)
