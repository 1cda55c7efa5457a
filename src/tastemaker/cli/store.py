"""`store`: lists, removes and compacts the content of the store."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tastemaker.cli import show, verbs
from tastemaker.cli.versions import Options
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
_RETRAIN = "existing versions still contain them: `tastemaker train` creates a new one"


def moment_of(text: str | None, name: str) -> int | None:
    """Returns the time in an option, microseconds.

    Raises:
        SettingError: it is not a valid time.
    """
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise SettingError(
            f"{name} must be a date or time such as 2025-01-31 or ISO 8601, got {text!r}"
        )
    return moment


def stats(options: Options) -> None:
    """Prints the counts and sizes of the store."""
    settings = verbs.open_project(options.project).file.store
    with _opened(options) as store:
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
            "removals": [asdict(removal) for removal in store.remover().removals()],
        }
    if options.as_json:
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
    for removal in facts["removals"]:
        unfinished = "" if removal["complete"] else ", interrupted: run it again"
        lines.append(
            f"removed     {format_moment(removal['time'])[:16]}Z {removal['what']} "
            f"{_shortened(removal['filter'])}: {removal['events']:,} events{unfinished}"
        )
    show.result_lines(lines)


def prune(options: Options, older_than: str | None) -> None:
    """Removes decisions beyond the age and size limits of the project."""
    settings = verbs.open_project(options.project).file.store
    if older_than is not None:
        parse_duration(older_than, "--older-than")
        settings = settings.model_copy(update={"keep_decisions": older_than})
    removed = 0
    with _opened(options) as store:
        capacity = Capacity(store, settings)
        while count := capacity.prune():
            removed += count
        left = store.decision_log.totals()
    if options.as_json:
        show.result_json({"removed": removed, "left": left.rows, "bytes": left.bytes})
    else:
        show.result(f"removed {removed:,} decisions, {left.rows:,} left")


def compact(options: Options) -> None:
    """Shrinks the file to the size of its content; no server may be running."""
    with _opened(options) as store:
        before = store.size().file
        with show.step("rewriting the database"):
            store.compact()
        after = store.size().file
    if options.as_json:
        show.result_json({"bytes_before": before, "bytes": after})
    else:
        show.result(f"{size_text(before)} before, {size_text(after)} now")


def show_events(options: Options, event_filter: EventFilter, limit: int) -> None:
    """Lists events, latest first."""
    with _opened(options) as store, store.reading() as connection:
        _require_known_types(store, event_filter)
        count = count_events(connection, event_filter)
        rows = list_events(connection, event_filter, limit)
    _show_rows(options, "events", rows, count)


def remove_events(options: Options, event_filter: EventFilter, yes: bool) -> None:
    """Removes events, or prints how many would be removed."""
    if event_filter.is_open:
        raise SettingError(
            "specify the events with --user, --item, --event-type, --from or --until"
        )
    with _opened(options) as store:
        _require_known_types(store, event_filter)
        with store.reading() as connection:
            count = count_events(connection, event_filter)
        if yes:
            count = store.remover().remove_events(event_filter)
    _show_removal(options, yes, f"{count:,} events", {"events": count})


def show_users(options: Options, ids: Sequence[str], limit: int) -> None:
    """Lists users, those with the most events first."""
    with _opened(options) as store, store.reading() as connection:
        rows = list_users(connection, tuple(ids), limit)
    _show_rows(options, "users", rows, len(rows))


def remove_users(options: Options, ids: Sequence[str], yes: bool) -> None:
    """Removes users with their events, attributes and decisions."""
    if not ids:
        raise SettingError("specify the users with --user ID, once for each user")
    with _opened(options) as store:
        with store.reading() as connection:
            count = count_events(connection, EventFilter(users=tuple(ids)))
        if yes:
            count = store.remover().remove_users(list(ids))
    summary = f"{len(ids):,} users with {count:,} events"
    _show_removal(options, yes, summary, {"users": len(ids), "events": count})


def show_items(
    options: Options, ids: Sequence[str], undescribed: bool, max_users: int | None, limit: int
) -> None:
    """Lists items, those with the most events first."""
    with _opened(options) as store, store.reading() as connection:
        selection = (tuple(ids), limit)
        rows = list_items(connection, *selection, undescribed=undescribed, max_users=max_users)
    _show_rows(options, "items", rows, len(rows))


def remove_items(
    options: Options, ids: Sequence[str], undescribed: bool, max_users: int | None, yes: bool
) -> None:
    """Removes items with their events and descriptions."""
    if not ids and not undescribed:
        raise SettingError(
            "specify the items with --item ID, once for each item, or with --undescribed"
        )
    with _opened(options) as store:
        with store.reading() as connection:
            selection = (tuple(ids), None)
            rows = list_items(connection, *selection, undescribed=undescribed, max_users=max_users)
        if yes:
            store.remover().remove_items([row["item_id"] for row in rows])
    count = sum(row["events"] for row in rows)
    summary = f"{len(rows):,} items with {count:,} events"
    _show_removal(options, yes, summary, {"items": len(rows), "events": count})


def _require_known_types(store: Store, event_filter: EventFilter) -> None:
    """Raises an error for an event type without events in the store, such as a typo."""
    known = store.kind_keys()
    for name in event_filter.event_types:
        if name not in known:
            raise SettingError(
                f"--event-type: the store has no event of type '{name}'{did_you_mean(name, known)}"
            )


@contextmanager
def _opened(options: Options) -> Iterator[Store]:
    """Opens the store of the project, after importing new data from the files."""
    source = EventSource(verbs.open_project(options.project), show.ProgressBars())
    with source.open() as store:
        verbs.report_recovered(source)
        yield store


def _show_rows(options: Options, what: str, rows: list[dict[str, Any]], count: int) -> None:
    if options.as_json:
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
    """A value as text, escaped before the column widths are computed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return printable("" if value is None else str(value))


def _shortened(filters: dict[str, Any]) -> dict[str, Any]:
    """A filter with long lists of ids shortened."""
    return {
        name: [*value[:_IDS_SHOWN], f"and {len(value) - _IDS_SHOWN:,} more"]
        if isinstance(value, list) and len(value) > _IDS_SHOWN
        else value
        for name, value in filters.items()
    }


def _show_removal(options: Options, yes: bool, summary: str, counts: dict[str, int]) -> None:
    if options.as_json:
        show.result_json({"removed": yes, **counts})
    else:
        show.result(f"removed {summary}" if yes else f"would remove {summary}")
    show.say(_RETRAIN if yes else "nothing was removed: add --yes to remove them")
