"""The indexed data of a project: catalogue, users and events. Immutable."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.arguments import indices_of, moment, moments_of, whole_number
from tastemaker.data.catalogue import Catalogue, Column
from tastemaker.data.clean import Cleaned, clean_files, clean_tables
from tastemaker.data.decay import LEAST_DECAY
from tastemaker.data.events import Events, Reduce, Role, reduce_events
from tastemaker.data.files import DataFile, with_distinct_names
from tastemaker.data.frames import as_polars
from tastemaker.data.indexing import Indexed, index_tables
from tastemaker.data.leaving_out import NOTHING_LEFT_OUT, LeftOut, leave_out
from tastemaker.data.log_past import LogPast
from tastemaker.data.profiles import ROLES
from tastemaker.data.propose import propose_schema
from tastemaker.data.report import ReadReport
from tastemaker.data.requests import HISTORY_CAP, Masks, Requests, seeds_of
from tastemaker.data.schema import Clock, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.data.table import Table, frame_table
from tastemaker.data.vocabulary import Vocabulary
from tastemaker.errors import ClockError, DataError, SettingError


class Dataset:
    """An event log with its items and users.

    Attributes:
        catalogue: the items, with their columns.
        users: user id ↔ index; for training and histories, never for models.
        events: sorted by user and time.
        kinds: the kinds of event; an event's kind is a position in it.
        clock: whether times are moments, only an order, or meaningless.
        profiles: the user table's columns, by user index.
        reports: how each table was read.
        sequence: the last position read from a store's log; 0 for files.
        store: the store it was read from; empty for files.
        sources: table → fingerprint of its file; empty for frames.
        left_out: the events that were left out, and why.
        described: bool[items], the items that the item table describes or, if it describes few,
            those in the project's files; None if undescribed items are never left out.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        users: Vocabulary,
        events: Events,
        kinds: Mapping[str, EventKind],
        clock: Clock = "absolute",
        profiles: Mapping[str, Column] | None = None,
        reports: tuple[ReadReport, ...] = (),
        sequence: int = 0,
        store: str = "",
        sources: Mapping[str, str] = MappingProxyType({}),
        left_out: LeftOut = NOTHING_LEFT_OUT,
        described: NDArray[np.bool_] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.users = users
        self.events = events
        self.kinds = dict(kinds)
        self.clock: Clock = clock
        self.profiles = dict(profiles or {})
        self.reports = reports
        self.sequence = sequence
        self.store = store
        self.sources = dict(sources)
        self.left_out = left_out
        self.described = described

    @classmethod
    def from_frames(
        cls,
        events: Any,
        *,
        items: Any = None,
        users: Any = None,
        schema: Schema | None = None,
    ) -> "Dataset":
        """The data set of frames (Polars, pandas, Arrow).

        Args:
            events: one row per event.
            items: one row per item.
            users: one row per user.
            schema: the meaning of the columns; by default proposed from their names and values.

        Raises:
            DataError: a column is missing, or more than `max_bad_rows` of the rows are invalid.
        """
        frames = {
            name: as_polars(frame, name)
            for name, frame in (("events", events), ("items", items), ("users", users))
            if frame is not None or name == "events"
        }
        chosen = schema or propose_schema(
            frames["events"], frames.get("items"), frames.get("users")
        )
        return cls.from_tables(
            {name: frame_table(frame.lazy(), name) for name, frame in frames.items()}, chosen
        )

    @classmethod
    def from_files(
        cls,
        events: Path,
        *,
        items: Path | None = None,
        users: Path | None = None,
        schema: Schema,
        quarantine: Path | None = None,
    ) -> "Dataset":
        """The data set of files (CSV, JSON lines, Parquet; text may be gzipped).

        Args:
            events: one row per event.
            items: one row per item.
            users: one row per user.
            schema: the meaning of the columns.
            quarantine: folder for invalid rows.

        Raises:
            DataError: a file cannot be used, or more than `max_bad_rows` of its rows are invalid.
        """
        named = {"events": events, "items": items, "users": users}
        files = {
            name: (DataFile(path, schema),) for name, path in named.items() if path is not None
        }
        return cls.from_data_files(with_distinct_names(files), schema, quarantine)

    @classmethod
    def from_data_files(
        cls,
        files: Mapping[str, Sequence[DataFile]],
        schema: Schema,
        quarantine: Path | None = None,
    ) -> "Dataset":
        """The data set of several files per table (events, items, users), each with its schema."""
        return cls.from_cleaned(clean_files(files, quarantine), schema)

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Table], schema: Schema, quarantine: Path | None = None
    ) -> "Dataset":
        """The data set of the tables `events`, and optionally `items` and `users`."""
        sources = {name: [(table, schema)] for name, table in tables.items()}
        return cls.from_cleaned(clean_tables(sources, quarantine), schema)

    @classmethod
    def from_cleaned(
        cls,
        cleaned: Cleaned,
        schema: Schema,
        sequence: int = 0,
        store: str = "",
        left_out: LeftOut = NOTHING_LEFT_OUT,
    ) -> "Dataset":
        """The data set of cleaned tables.

        Args:
            cleaned: the valid rows.
            schema: the meaning of the columns.
            sequence: the last position read from a store's log.
            store: the store they were read from; empty for files.
            left_out: the events that were not read.

        Raises:
            DataError: no event is left.
        """
        log, left_out = leave_out(
            cleaned.tables["events"],
            cleaned.tables.get("items"),
            schema.exclude,
            schema.min_item_users,
            schema.clock == "absolute",
            left_out,
        )
        if not log.height:
            why = "; ".join(left_out.lines())
            raise DataError(
                f"{cleaned.reports[0].source}: no usable event is left{f' ({why})' if why else ''}"
            )
        indexed = index_tables(log, cleaned.tables, schema)
        return cls(
            indexed.catalogue,
            indexed.users,
            indexed.events,
            schema.kinds,
            schema.clock,
            indexed.profiles,
            cleaned.reports,
            sequence,
            store,
            cleaned.sources,
            left_out,
            None if schema.min_item_users == 1 else _described(indexed, log, left_out),
        )

    def __repr__(self) -> str:
        return (
            f"Dataset({len(self.events):,} events, {len(self.users):,} users, "
            f"{len(self.catalogue):,} items, clock {self.clock})"
        )

    @property
    def end(self) -> int:
        """The moment just after the last event, microseconds."""
        return int(self.events.time.max(initial=-1)) + 1

    def before(self, time: Any) -> "Dataset":
        """The events strictly before a moment; items and users keep their indices.

        Args:
            time: a datetime, a date, ISO 8601 text or microseconds.

        Raises:
            ClockError: the clock is not absolute.
            SettingError: `time` is not a moment.
        """
        self.require_clock("before")
        return self._with(self.catalogue, self.events.before(moment(time, "time")))

    def no_later_than(self, time: Any) -> "Dataset":
        """The same events, with times after a moment set to it, as a server records them.

        Args:
            time: a datetime, a date, ISO 8601 text or microseconds.

        Raises:
            ClockError: the clock is not absolute.
            SettingError: `time` is not a moment.
        """
        self.require_clock("no_later_than")
        latest = moment(time, "time")
        return (
            self
            if self.end <= latest + 1
            else self._with(self.catalogue, self.events.no_later_than(latest))
        )

    def where(self, keep: NDArray[np.bool_]) -> "Dataset":
        """The events for which `keep` bool[events] is true; items and users keep their indices.

        Replacements are determined from the kept events alone (`Events.where`).
        """
        return self._with(self.catalogue, self.events.where(keep))

    def onto(self, catalogue: Catalogue, known: NDArray[np.int32]) -> "Dataset":
        """These events with the item indices of another catalogue.

        Args:
            catalogue: the catalogue whose indices to use.
            known: int32[items of `catalogue`], each item's index in this data set; −1 if it has
                none.

        Returns:
            The same users; events of items that are not in `catalogue` are left out.
        """
        index = np.full(len(self.catalogue), -1, np.int32)
        index[known[known >= 0]] = np.flatnonzero(known >= 0).astype(np.int32)
        kept = self.events.where(index[self.events.item] >= 0)
        events = replace(kept, item=index[kept.item])
        return self._with(catalogue, events)

    def _with(self, catalogue: Catalogue, events: Events) -> "Dataset":
        """A data set of other events and items, with the same users and settings."""
        described = self.described if catalogue is self.catalogue else None
        return Dataset(
            *(catalogue, self.users, events, self.kinds, self.clock, self.profiles),
            sources=self.sources,
            left_out=self.left_out,
            described=described,
        )

    def require_clock(self, operation: str) -> None:
        """Requires that the data's times are moments.

        Args:
            operation: the operation or setting that needs them, for the message.

        Raises:
            ClockError: the clock is `ordinal` or `none`.
        """
        if self.clock != "absolute":
            raise ClockError(
                f"{operation} needs moments in time, and this data's clock is '{self.clock}'; map "
                "a timestamp column under [data.columns.events]"
            )

    def interactions(
        self,
        *,
        role: Role = "positive",
        reduce: Reduce = "sum",
        half_life: int | None = None,
    ) -> csr_array:
        """Events reduced to one weight per user–item pair, float32[users × items].

        Events that were replaced before the end of the data do not count.

        Args:
            role: positive or negative events; they are never mixed.
            reduce: sum the weights of a pair, or set each pair to 1.
            half_life: microseconds in which an event loses half its weight, counted back from
                the end of the data.

        Raises:
            ClockError: `half_life` is set and the clock is not absolute.
        """
        weights = self.events.weight
        if half_life is not None:
            self.require_clock("half_life")
            age = (self.end - self.events.time).astype(np.float64)
            decay = np.maximum(np.exp2(-age / half_life), LEAST_DECAY)
            weights = (weights * decay).astype(np.float32)
        return reduce_events(
            self.events.user,
            self.events.item,
            weights,
            (len(self.users), len(self.catalogue)),
            role=role,
            reduce=reduce,
        )

    @cached_property
    def _past(self) -> LogPast:
        return LogPast(self.events, self.kinds, len(self.catalogue))

    def requests(
        self,
        users: Any,
        moments: Any,
        *,
        seen: SeenPolicy | None = None,
        cap: int = HISTORY_CAP,
        placement: str = "",
    ) -> Requests:
        """The requests of users at moments.

        Args:
            users: [n] indices, as returned by `users.indices(ids)`.
            moments: [n] datetimes, dates, ISO 8601 texts or microseconds; only events strictly
                before count, unless they were replaced strictly before.
            seen: which past events exclude an item; by default `SeenPolicy.of(kinds)`.
            cap: the maximum history length.
            placement: the requested placement.

        Raises:
            SettingError: a user does not exist, a moment cannot be read, the numbers of moments and
                users differ, or `cap` is not an integer of at least 0.
        """
        users = indices_of(users, len(self.users), "users")
        moments = moments_of(moments, "moments")
        if len(users) != len(moments):
            raise SettingError(
                f"'moments' must hold one moment for each user, got {len(moments)} for "
                f"{len(users)} users"
            )
        cap = whole_number(cap, "cap", 0)
        past = self._past.before(users, moments)
        return Requests(
            moments,
            self._past.histories(past, cap),
            self._past.excluded(past, seen or SeenPolicy.of(self.kinds)),
            Masks.everything(len(users)),
            seeds_of(users, moments),
            tuple(self.users.ids(users)),
            placement,
            {n: c.take(users) for n, c in self.profiles.items() if c.role in ROLES},
        )


def _described(indexed: Indexed, log: pl.DataFrame, left_out: LeftOut) -> NDArray[np.bool_]:
    """The value of `Dataset.described`."""
    if left_out.min_item_users:  # the rule applies
        return indexed.described
    if "served" not in log.columns:
        return np.ones(len(indexed.catalogue), np.bool_)
    described = indexed.described.copy()
    in_files = log.filter(~pl.col("served"))["item_id"].unique().cast(pl.String)
    described[indexed.catalogue.items.indices(in_files)] = True
    return described
