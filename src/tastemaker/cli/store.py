"""`store`: what is in it, what to take out of it, and how much room it takes up."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tastemaker.cli import show, verbs
from tastemaker.cli.versions import About
from tastemaker.data.times import format_moment, parse_duration, parse_moment
from tastemaker.errors import SettingError, did_you_mean
from tastemaker.machine import size_text
from tastemaker.printable import printable
from tastemaker.store import EventSource, Store
from tastemaker.store.capacity import Capacity
from tastemaker.store.limits import free_bytes
from tastemaker.store.listing import count_events, list_events, list_items, list_users
from tastemaker.store.removing import EventFilter

_IDS_SHOWN = 5
_ONCE_TRAINED = "the versions trained so far still know them: `tastemaker train` makes a new one"


def moment_of(text: str | None, name: str) -> int | None:
    """An option that names a moment, microseconds.

    Raises:
        SettingError: it is not a moment.
    """
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise SettingError(f"{name} must be a moment such as 2025-01-31 or ISO 8601, got {text!r}")
    return moment


def stats(about: About) -> None:
    """How much is in the store, and how much it takes up."""
    settings = verbs.open_project(about.project).file.store
    with _opened(about) as store:
        size, log = store.size(), store.decision_log.totals()
        free, reserve = free_bytes(store.path, settings.reserve)
        facts: dict[str, Any] = {
            "path": str(store.path),
            "file_bytes": size.file,
            "used_bytes": size.used,
            "free_disk_bytes": free,
            "reserve_bytes": reserve,
            "events": store.count(),
            "served_events": store.count_served(0),
            "described_items": store.item_count(),
            "decisions": log.rows,
            "decision_bytes": log.bytes,
            "oldest_decision": None if log.oldest is None else format_moment(log.oldest),
            "removals": [asdict(one) for one in store.remover().removals()],
        }
    if about.as_json:
        show.result_json(facts)
        return
    oldest = f", the oldest of {facts['oldest_decision'][:10]}" if log.oldest is not None else ""
    lines = [
        f"file        {size_text(size.file)}, {size_text(size.used)} of it in use",
        f"disk        {size_text(free)} free, {size_text(reserve)} reserved for events",
        f"events      {facts['events']:,}, {facts['served_events']:,} of them over HTTP "
        f"(at most {settings.max_events:,})",
        f"items       {facts['described_items']:,} described (at most {settings.max_items:,})",
        f"decisions   {log.rows:,}, {size_text(log.bytes)} (at most "
        f"{size_text(settings.max_decisions)}, for {settings.keep_decisions}){oldest}",
    ]
    for one in facts["removals"]:
        unfinished = "" if one["complete"] else ", cut short: run it again"
        lines.append(
            f"removed     {format_moment(one['time'])[:16]}Z {one['what']} {_few(one['filter'])}: "
            f"{one['events']:,} events{unfinished}"
        )
    show.result_lines(lines)


def prune(about: About, older_than: str | None) -> None:
    """Removes decisions that are too old, or too many, by the project's settings."""
    settings = verbs.open_project(about.project).file.store
    if older_than is not None:
        parse_duration(older_than, "--older-than")
        settings = settings.model_copy(update={"keep_decisions": older_than})
    removed = 0
    with _opened(about) as store:
        capacity = Capacity(store, settings)
        while some := capacity.prune():
            removed += some
        left = store.decision_log.totals()
    if about.as_json:
        show.result_json({"removed": removed, "left": left.rows, "bytes": left.bytes})
    else:
        show.result(f"removed {removed:,} decisions, {left.rows:,} left")


def compact(about: About) -> None:
    """Makes the file as small as what it holds; no server may be running."""
    with _opened(about) as store:
        before = store.size().file
        with show.step("writing the database again"):
            store.compact()
        after = store.size().file
    if about.as_json:
        show.result_json({"bytes_before": before, "bytes": after})
    else:
        show.result(f"{size_text(before)} before, {size_text(after)} now")


def events_listed(about: About, chosen: EventFilter, most: int) -> None:
    """Lists events, the latest first."""
    with _opened(about) as store, store.reading() as connection:
        _require_known_types(store, chosen)
        count = count_events(connection, chosen)
        rows = list_events(connection, chosen, most)
    _tell(about, "events", rows, count)


def events_removed(about: About, chosen: EventFilter, yes: bool) -> None:
    """Removes events, or says how many it would remove."""
    if chosen.is_open:
        raise SettingError(
            "say which events: --user, --item, --event-type, --from or --until, any of them"
        )
    with _opened(about) as store:
        _require_known_types(store, chosen)
        with store.reading() as connection:
            count = count_events(connection, chosen)
        if yes:
            count = store.remover().remove_events(chosen)
    _tell_removal(about, yes, f"{count:,} events", {"events": count})


def users_listed(about: About, ids: Sequence[str], most: int) -> None:
    """Lists users, those with most events first."""
    with _opened(about) as store, store.reading() as connection:
        rows = list_users(connection, tuple(ids), most)
    _tell(about, "users", rows, len(rows))


def users_removed(about: About, ids: Sequence[str], yes: bool) -> None:
    """Removes users with their events, attributes and decisions."""
    if not ids:
        raise SettingError("say which users: --user ID, again for each further one")
    with _opened(about) as store:
        with store.reading() as connection:
            count = count_events(connection, EventFilter(users=tuple(ids)))
        if yes:
            count = store.remover().remove_users(list(ids))
    told = f"{len(ids):,} users with {count:,} events"
    _tell_removal(about, yes, told, {"users": len(ids), "events": count})


def items_listed(
    about: About, ids: Sequence[str], undescribed: bool, max_users: int | None, most: int
) -> None:
    """Lists items, those with most events first."""
    with _opened(about) as store, store.reading() as connection:
        chosen = (tuple(ids), most)
        rows = list_items(connection, *chosen, undescribed=undescribed, max_users=max_users)
    _tell(about, "items", rows, len(rows))


def items_removed(
    about: About, ids: Sequence[str], undescribed: bool, max_users: int | None, yes: bool
) -> None:
    """Removes items with their events and descriptions."""
    if not ids and not undescribed:
        raise SettingError("say which items: --item ID, again for each further one; --undescribed")
    with _opened(about) as store:
        with store.reading() as connection:
            chosen = (tuple(ids), None)
            rows = list_items(connection, *chosen, undescribed=undescribed, max_users=max_users)
        if yes:
            store.remover().remove_items([row["item_id"] for row in rows])
    count = sum(row["events"] for row in rows)
    told = f"{len(rows):,} items with {count:,} events"
    _tell_removal(about, yes, told, {"items": len(rows), "events": count})


def _require_known_types(store: Store, chosen: EventFilter) -> None:
    """Refuses event types that the store has no events of, so that a typo is noticed."""
    known = store.kind_keys()
    for name in chosen.event_types:
        if name not in known:
            raise SettingError(
                f"--event-type: the store has no event of type '{name}'{did_you_mean(name, known)}"
            )


@contextmanager
def _opened(about: About) -> Iterator[Store]:
    """The project's store, brought up to date with the files."""
    source = EventSource(verbs.open_project(about.project), show.ProgressBars())
    with source.open() as store:
        verbs.tell_recovered(source)
        yield store


def _tell(about: About, what: str, rows: list[dict[str, Any]], count: int) -> None:
    if about.as_json:
        show.result_json({"count": count, what: rows})
        return
    if rows:
        cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        show.result_lines(
            "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells
        )
    if count > len(rows) or not rows:
        show.say(f"{len(rows):,} of {count:,} {what} shown")


def _cell(value: Any) -> str:
    """A value as it is printed, escaped before the columns are measured."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return printable("" if value is None else str(value))


def _few(chosen: dict[str, Any]) -> dict[str, Any]:
    """A filter with the first of its ids alone, where there are many."""
    return {
        name: [*value[:_IDS_SHOWN], f"and {len(value) - _IDS_SHOWN:,} more"]
        if isinstance(value, list) and len(value) > _IDS_SHOWN
        else value
        for name, value in chosen.items()
    }


def _tell_removal(about: About, yes: bool, told: str, counts: dict[str, int]) -> None:
    if about.as_json:
        show.result_json({"removed": yes, **counts})
    else:
        show.result(f"removed {told}" if yes else f"would remove {told}")
    show.say(_ONCE_TRAINED if yes else "nothing was removed: add --yes to do so")
