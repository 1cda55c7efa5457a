import numpy as np
import pytest

from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import SettingError

DAY = MICROSECONDS["d"]
KINDS = {
    "view": EventKind(),
    "purchase": EventKind(weight=6),
    "hide": EventKind(role="negative", hide_item=True),
    "impression": EventKind(role="exposure"),
    "dislike": EventKind(role="negative"),
    "unlike": EventKind(role="neutral"),
}


def away(policy: SeenPolicy, kind: str, age: int, now: int = 1000 * DAY) -> bool:
    code = list(KINDS).index(kind)
    columns = np.array([code], np.int8), np.array([now - age]), np.array([now])
    return bool(policy.excludes(*columns)[0])


def test_by_default_all_but_exposures_and_neutral_types_exclude() -> None:
    policy = SeenPolicy.of(KINDS)
    kept_away = {kind: away(policy, kind, 900 * DAY) for kind in KINDS}
    assert kept_away == {
        "view": True, "purchase": True, "hide": True, "impression": False, "dislike": True,
        "unlike": False,
    }  # fmt: skip


def test_a_neutral_type_excludes_where_a_rule_names_it() -> None:
    policy = SeenPolicy.of(KINDS, {"unlike": "exclude for 90d"})
    assert away(policy, "unlike", 90 * DAY - 1)
    assert not away(policy, "unlike", 90 * DAY)


def test_an_allowed_kind_may_come_back_at_once() -> None:
    policy = SeenPolicy.of(KINDS, {"view": "allow"})
    assert not away(policy, "view", 1)
    assert away(policy, "purchase", 1)


def test_exclusion_for_a_time_ends_with_it() -> None:
    policy = SeenPolicy.of(KINDS, {"purchase": "exclude for 90d"})
    assert away(policy, "purchase", 90 * DAY - 1)
    assert not away(policy, "purchase", 90 * DAY)


@pytest.mark.parametrize("rule", ["allow", "exclude for 1d"])
def test_a_blocked_item_never_returns_whatever_the_rule(rule: str) -> None:
    assert away(SeenPolicy.of(KINDS, {"hide": rule}), "hide", 900 * DAY)


def test_being_shown_never_excludes() -> None:
    assert not away(SeenPolicy.of(KINDS, {"impression": "exclude"}), "impression", 1)


def test_an_unknown_kind_is_named_with_its_near_miss() -> None:
    with pytest.raises(SettingError, match=r"unknown kind 'purchse'; did you mean 'purchase'\?"):
        SeenPolicy.of(KINDS, {"purchse": "allow"})


@pytest.mark.parametrize("rule", ["never", "exclude 30d", "exclude for", ""])
def test_an_unknown_rule_is_named_with_a_fix(rule: str) -> None:
    with pytest.raises(SettingError, match=r"seen\.view must be 'exclude', 'allow' or"):
        SeenPolicy.of(KINDS, {"view": rule})


def test_a_bad_duration_in_a_rule_is_named() -> None:
    with pytest.raises(SettingError, match=r"'seen\.view' must be a duration.*got '30days'"):
        SeenPolicy.of(KINDS, {"view": "exclude for 30days"})
