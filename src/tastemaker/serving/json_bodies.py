"""Bodies as JSON: read strictly, and never for long at a time.

Parsing holds the interpreter until it is done, and with it every other request. A scan, which does
not hold it, counts what a body consists of before, and cuts a long list of events into parts that
are parsed one after the other.
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
"""Values and fields of a body, or of a part of a batch. Parsing so many takes 15 ms at most."""
MOST_IN_BATCH = 500_000
"""The same of a batch of events in all. Ten thousand events of ten fields, one of them a context of
ten fields more, have 430,000."""
LONGEST_NUMBER = 1_000
"""Digits of a number; the time that a number takes to parse grows with their square."""
PART = 65_536
"""Bytes after which a batch is cut at the end of the event under way."""
_SPACE = rb"[ \t\r\n]*"
_HEAD = re.compile(rb'%b\{%b"events"%b:%b\[' % ((_SPACE,) * 4))
_TAIL = re.compile(rb"\]%b\}%b" % ((_SPACE,) * 2))


def read_json(body: bytes) -> Any:
    """A body as JSON in UTF-8; of two fields of one name the later counts.

    Raises:
        Refused: it is not JSON, or has too many elements or digits.
    """
    found = _scanned(body, 0)
    _require(found.elements, MOST_ELEMENTS)
    _require_short(found.digits)
    return _parsed(body)


def read_batch(body: bytes) -> Any:
    """The same for `{"events": […]}`, whose list may be long; any other body as by `read_json`.

    Raises:
        Refused: it is not JSON, or has too many elements or digits.
    """
    head = _HEAD.match(body) if len(body) > PART else None
    if head is None:
        return read_json(body)
    found = _scanned(body, head.end())
    if found.end < 0 or not _TAIL.fullmatch(body, found.end):
        return read_json(body)
    _require(found.elements, MOST_IN_BATCH)
    _require(found.largest, MOST_ELEMENTS)
    _require_short(found.digits)
    edges = [head.end() - 1, *found.cuts.tolist(), found.end]
    events: list[Any] = []
    # parts that are lists of values are one such list with commas between them
    for before, after in pairwise(edges):
        give_way()
        part = _parsed(b"[%b]" % body[before + 1 : after], before + 1)
        if not part and len(edges) > 2:
            raise _malformed("a value is missing in 'events'")
        events += part
    return {"events": events}


def prepare() -> None:
    """Compiles what reads bodies, so that no request waits for it."""
    _scanned(b"[]", 0)


def _parsed(text: bytes, begin: int = 0) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as problem:
        where = f", counted from byte {begin:,}" if begin else ""
        raise _malformed(f"{problem}{where}") from None


def _malformed(problem: str) -> ApiError:
    return ApiError(422, "malformed_json", f"the body is not JSON in UTF-8: {problem}")


def _require(elements: int, most: int) -> None:
    if elements > most:
        told = f"the body has {elements:,} values and fields, {most:,} are allowed"
        raise ApiError(413, "too_large", f"{told}: send it in parts")


def _require_short(digits: int) -> None:
    if digits > LONGEST_NUMBER:
        told = f"a number has {digits:,} digits, {LONGEST_NUMBER:,} are allowed"
        raise ApiError(422, "malformed_json", told)


class _Scanned(NamedTuple):
    """What a scan has found.

    Attributes:
        elements: commas, colons and opening brackets outside of texts.
        largest: the same between two cuts, where there are most.
        digits: the most in a row outside of texts.
        end: where the list ends that is to be cut; -1 if it does not.
        cuts: commas between the parts, int64.
    """

    elements: int
    largest: int
    digits: int
    end: int
    cuts: NDArray[np.int64]


def _scanned(body: bytes, begin: int) -> _Scanned:
    """Scans a body.

    Args:
        body: any bytes; of what is not JSON something is counted.
        begin: just behind the bracket of a list that is to be cut; 0 to cut nothing.
    """
    cuts = np.empty(len(body) // PART + 1 if begin else 0, np.int64)
    view = np.frombuffer(body or b" ", np.uint8)
    elements, largest, digits, end, size = _scan(view, begin, PART, cuts)
    return _Scanned(elements, largest, digits, end, cuts[:size])


@kernel
def _scan(body, begin, part, cuts):  # type: ignore[no-untyped-def]
    """See `_Scanned`; the number of cuts instead of the cuts, which are written to `cuts`."""
    elements, largest, counted = 0, 0, 0
    digits, row = 0, 0
    depth, end, size, last = 0, -1, 0, begin
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
            if depth == 0 and end < 0 and size < len(cuts) and place - last >= part:
                cuts[size] = place
                size += 1
                last = place
                largest = max(largest, elements - counted)
                counted = elements
    return elements, max(largest, elements - counted), digits, end, size
