"""The seen policy of a placement: which past events exclude an item, and for how long.

The policy is applied to the user's whole past, uncapped; the result is `Requests.exclude`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.schema import EventKind
from tastemaker.data.times import parse_duration
from tastemaker.errors import SettingError, did_you_mean

_FOREVER = np.iinfo(np.int64).max
_RULE = re.compile(r"exclude for (\S+)")


@dataclass(frozen=True, slots=True)
class SeenPolicy:
    """The time for which an event of each kind excludes its item from recommendations.

    Attributes:
        window: int64[kinds], microseconds; 0 allows repeats immediately.
    """

    window: NDArray[np.int64]

    @classmethod
    def of(
        cls, kinds: Mapping[str, EventKind], rules: Mapping[str, str] | None = None
    ) -> "SeenPolicy":
        """The policy for rules such as `{"view": "allow", "purchase": "exclude for 90d"}`.

        Args:
            kinds: the event types of the data.
            rules: event type → `exclude`, `allow` or `exclude for DURATION`. The default is
                `exclude`, or `allow` for neutral types: after an unlike, the item may be shown
                again. Types with `hide_item` always exclude; exposures never do.

        Raises:
            SettingError: a kind or a rule is unknown.
        """
        for named in rules or {}:
            if named not in kinds:
                raise SettingError(f"seen: unknown kind '{named}'{did_you_mean(named, kinds)}")
        windows = []
        for name, kind in kinds.items():
            if kind.hide_item:
                windows.append(_FOREVER)
            elif kind.role == "exposure":
                windows.append(0)
            else:
                default = "allow" if kind.role == "neutral" else "exclude"
                windows.append(_window(name, (rules or {}).get(name, default)))
        return cls(np.array(windows, np.int64))

    def excludes(
        self, kind: NDArray[np.int8], time: NDArray[np.int64], now: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether each event still excludes its item at moment `now`, bool[events]."""
        window = self.window[kind]
        excluded: NDArray[np.bool_] = (window == _FOREVER) | (now - time < window)
        return excluded


def _window(kind: str, rule: str) -> int:
    if rule == "exclude":
        return int(_FOREVER)
    if rule == "allow":
        return 0
    if match := _RULE.fullmatch(rule):
        return parse_duration(match[1], f"seen.{kind}")
    raise SettingError(f"seen.{kind} must be 'exclude', 'allow' or 'exclude for 30d', got {rule!r}")
