"""Schema proposals: the likely meaning of a table's columns and event types."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from tastemaker.data.column_types import require_type, type_name
from tastemaker.data.profiles import ROLES as USER_ROLES
from tastemaker.data.propose_kinds import propose_kinds
from tastemaker.data.propose_roles import propose_roles
from tastemaker.data.recognize import NAMES, Recognized, plain, recognize_events, recognize_id
from tastemaker.data.schema import Schema
from tastemaker.errors import DataError

NEEDED = ("user_id", "item_id")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed schema, with the parts that are guessed or missing.

    Attributes:
        schema: the likely meaning of the columns.
        guessed: the roles (`item_id` …) that are supported by values only, not by names.
        lacking: `user_id` or `item_id` if no column looks like one.
    """

    schema: Schema
    guessed: frozenset[str] = frozenset()
    lacking: tuple[str, ...] = field(default=())


def propose_schema(
    events: pl.DataFrame, items: pl.DataFrame | None = None, users: pl.DataFrame | None = None
) -> Schema:
    """The likely meaning of the columns, by their names.

    Args:
        events: the event log, or its beginning; all columns as inferred by a reader.
        items: the item table.
        users: the user table.

    Raises:
        DataError: no column is named like a user id or an item id.
    """
    proposal = propose(events, items, users)
    unnamed = {ours for ours in NEEDED if ours in proposal.guessed} | set(proposal.lacking)
    for ours in NEEDED:
        if ours in unnamed:
            _refuse_type(events, ours)
            raise DataError(
                f"no column looks like '{ours}' among {', '.join(events.columns)}; name it "
                "under [data.columns.events]"
            )
    return proposal.schema


def propose(
    events: pl.DataFrame,
    items: pl.DataFrame | None = None,
    users: pl.DataFrame | None = None,
    *,
    hints: Mapping[str, str] | None = None,
    usual_kind: str = "interaction",
) -> Proposal:
    """The likely meaning of the columns, by their names or else by their values.

    Args:
        events: the event log, or its beginning.
        items: the item table.
        users: the user table.
        hints: Tastemaker's column → the event log's column, if known to the caller.
        usual_kind: the event type of a log without event types.

    Raises:
        DataError: a hint names a column that does not exist, or an item or user table has no ids.
    """
    found = recognize_events(events, hints)
    columns = dict(found.columns)
    if "event_type" in columns:
        name = columns["event_type"]
        require_type("events", name, events.schema[name], "event_type")
    kinds, default = propose_kinds(
        _column(events, columns, "event_type"), _column(events, columns, "value"), usual_kind
    )
    if not any(kind.uses_value for kind in kinds.values()) and "value" not in (hints or {}):
        columns.pop("value", None)
    guessed = set(found.guessed) & set(columns)
    entities: dict[str, object] = {}
    for table, frame, ours in (("item", items, "item_id"), ("user", users, "user_id")):
        if frame is None:
            continue
        known = _column(events, columns, ours)
        theirs, is_guess = recognize_id(frame, ours, known, columns.get(ours))
        entities[f"{table}_columns"] = {} if theirs == ours else {ours: theirs}
        roles = propose_roles(frame, theirs)
        if table == "user":  # other columns are left out and reported as not used
            roles = {name: role for name, role in roles.items() if role.role in USER_ROLES}
        entities[f"{table}_roles"] = roles
        guessed |= {f"{table}s.{ours}"} if is_guess else set()
    schema = Schema(
        event_columns={ours: theirs for ours, theirs in columns.items() if ours != theirs},
        kinds=kinds,
        default_kind=default,
        clock="absolute" if "timestamp" in columns else "none",
        time_format=_form(found),
        **entities,
    )
    lacking = tuple(ours for ours in NEEDED if ours not in columns)
    return Proposal(schema, frozenset(guessed), lacking)


def _refuse_type(events: pl.DataFrame, ours: str) -> None:
    """Rejects a column that is named like an id but whose type cannot hold ids."""
    for name, kind in events.schema.items():
        if plain(name) in NAMES[ours].split():
            raise DataError(
                f"events: the column '{name}' ({ours}) holds {type_name(kind)}; write ids as "
                "integers or text"
            )


def _column(frame: pl.DataFrame, columns: Mapping[str, str], ours: str) -> pl.Series | None:
    return frame[columns[ours]] if ours in columns else None


def _form(found: Recognized) -> str | None:
    return found.forms.get(found.columns.get("timestamp", ""))
