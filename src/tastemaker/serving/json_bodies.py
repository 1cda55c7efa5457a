"""Strict parsing of JSON bodies, in short steps.

Parsing holds the interpreter lock and so blocks all other requests. A scan that does not hold the
lock first counts the elements of a body, and splits a long list of events into parts that are
parsed one after the other.
"""

import re
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from tastemaker.compilation import kernel
from tastemaker.giving_way import give_way
from tastemaker.serving.errors import ApiError

MOST_ELEMENTS = 100_000
"""Most values and fields of a body, or of a part of a batch. Parsing them takes at most 15 ms."""
MOST_IN_BATCH = 500_000
"""Most values and fields of a whole batch of events. Ten thousand events of ten fields, one of them
a context of ten more fields, have 430,000."""
LONGEST_NUMBER = 1_000
"""Most digits of a number. The time to parse a number grows with the square of its digits."""
PART = 65_536
"""Bytes after which a batch is split, at the end of the current event."""
_SPACE = rb"[ \t\r\n]*"
_HEAD = re.compile(rb'%b\{%b"events"%b:%b\[' % ((_SPACE,) * 4))
_TAIL = re.compile(rb"\]%b\}%b" % ((_SPACE,) * 2))


def read_json(body: bytes) -> Any:
    """A body parsed as JSON in UTF-8. If a field is repeated, the last value is used.

    Raises:
        ApiError: the body is not JSON, or has too many elements or digits.
    """
    found = _scan_body(body, 0)
    _require(found.elements, MOST_ELEMENTS)
    _require_short(found.digits)
    return _parse(body)


def read_batch(body: bytes) -> Any:
    """A body `{"events": […]}` with a long list, parsed in parts; others as by `read_json`.

    Raises:
        ApiError: the body is not JSON, or has too many elements or digits.
    """
    head = _HEAD.match(body) if len(body) > PART else None
    if head is None:
        return read_json(body)
    found = _scan_body(body, head.end())
    if found.end < 0 or not _TAIL.fullmatch(body, found.end):
        return read_json(body)
    _require(found.elements, MOST_IN_BATCH)
    _require(found.largest, MOST_ELEMENTS)
    _require_short(found.digits)
    edges = [head.end() - 1, *found.cuts.tolist(), found.end]
    events: list[Any] = []
    # the parts, each a list of values, joined by commas are the whole list
    for before, after in pairwise(edges):
        give_way()
        part = _parse(b"[%b]" % body[before + 1 : after], before + 1)
        if not part and len(edges) > 2:
            raise _malformed("a value is missing in 'events'")
        events += part
    return {"events": events}


def prepare() -> None:
    """Compiles the scan, so that no request waits for it."""
    _scan_body(b"[]", 0)


def _parse(text: bytes, begin: int = 0) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as problem:
        where = f", counted from byte {begin:,}" if begin else ""
        raise _malformed(f"{problem}{where}") from None


def _malformed(problem: str) -> ApiError:
    return ApiError(422, "malformed_json", f"the body is not JSON in UTF-8: {problem}")


def _require(elements: int, most: int) -> None:
    if elements > most:
        count = f"the body has {elements:,} values and fields, {most:,} are allowed"
        raise ApiError(413, "too_large", f"{count}: send it in parts")


def _require_short(digits: int) -> None:
    if digits > LONGEST_NUMBER:
        message = f"a number has {digits:,} digits, {LONGEST_NUMBER:,} are allowed"
        raise ApiError(422, "malformed_json", message)


class _Scan(NamedTuple):
    """The result of a scan.

    Attributes:
        elements: the number of commas, colons and opening brackets outside of strings.
        largest: the largest number of them between two cuts.
        digits: the longest run of digits outside of strings.
        end: the position where the list to split ends; -1 if it does not end.
        cuts: the positions of the commas between the parts, int64.
    """

    elements: int
    largest: int
    digits: int
    end: int
    cuts: NDArray[np.int64]


def _scan_body(body: bytes, begin: int) -> _Scan:
    """Scans a body.

    Args:
        body: any bytes. The counts have no meaning if it is not JSON.
        begin: the position after the opening bracket of the list to split; 0 to split nothing.
    """
    cuts = np.empty(len(body) // PART + 1 if begin else 0, np.int64)
    view = np.frombuffer(body or b" ", np.uint8)
    elements, largest, digits, end, size = _scan_bytes(view, begin, PART, cuts)
    return _Scan(elements, largest, digits, end, cuts[:size])


@kernel
def _scan_bytes(body, begin, part, cuts):  # type: ignore[no-untyped-def]
    """See `_Scan`. Returns the number of cuts, and writes the cuts to `cuts`."""
    elements, largest, counted = 0, 0, 0
    digits, row = 0, 0
    depth, end, size, last_cut = 0, -1, 0, begin
    is_text, is_escaped = False, False
    for place in range(begin, len(body)):
        byte = body[place]
        if is_text:
            if is_escaped:
                is_escaped = False
            elif byte == 92:  # \
                is_escaped = True
            elif byte == 34:
                is_text = False
            continue
        if 48 <= byte <= 57:
            row += 1
            digits = max(digits, row)
            continue
        row = 0
        if byte == 34:  # "
            is_text = True
        elif byte == 58:  # :
            elements += 1
        elif byte == 91 or byte == 123:  # [ {
            elements += 1
            depth += 1
        elif byte == 93 or byte == 125:  # ] }
            depth -= 1
            if depth < 0 and end < 0:
                end = place
        elif byte == 44:  # ,
            elements += 1
            if depth == 0 and end < 0 and size < len(cuts) and place - last_cut >= part:
                cuts[size] = place
                size += 1
                last_cut = place
                largest = max(largest, elements - counted)
                counted = elements
    return elements, max(largest, elements - counted), digits, end, size
