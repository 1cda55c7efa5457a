"""The data of a project, indexed: catalogue, users and events. Immutable; only ever narrowed."""

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
    """An event log and what is known of its items and users.

    Attributes:
        catalogue: the items, with their columns.
        users: user id ↔ index; for training and histories, never for models.
        events: sorted by user and time.
        kinds: the kinds of event; an event's kind is a position in it.
        clock: whether times are moments, an order, or nothing.
        profiles: the user table's columns, by user index.
        reports: how each table was read.
        sequence: how far into a store's log it reaches; 0 from files.
        store: the store it was read from; empty from files.
        sources: table → fingerprint of the file it is of; empty from frames.
        left_out: what of the events is not there, and why.
        described: bool[items], which items the item table describes, or, where it describes little,
            are in the project's files; None where no item is left out for being undescribed.
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
        """Indexes frames (Polars, pandas, Arrow).

        Args:
            events: one row per event.
            items: one row per item.
            users: one row per user.
            schema: what the columns mean; by default proposed from their names and values.

        Raises:
            DataError: a column is missing, or more than `max_bad_rows` of the rows cannot be used.
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
        """Reads and indexes files (CSV, JSON lines, Parquet; text also gzipped).

        Args:
            events: one row per event.
            items: one row per item.
            users: one row per user.
            schema: what the columns mean.
            quarantine: folder for the rows that cannot be used.

        Raises:
            DataError: a file cannot be used, or more than `max_bad_rows` of its rows.
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
        """Reads and indexes the files of each table (events, items, users), each in its own way."""
        return cls.from_cleaned(clean_files(files, quarantine), schema)

    @classmethod
    def from_tables(
        cls, tables: Mapping[str, Table], schema: Schema, quarantine: Path | None = None
    ) -> "Dataset":
        """Cleans and indexes the tables `events`, and `items` and `users` if given."""
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
        """Indexes tables that were cleaned, wherever they were kept since.

        Args:
            cleaned: rows that can be used.
            schema: what the columns mean.
            sequence: how far into a store's log they reach.
            store: the store they were read from; empty from files.
            left_out: what was not read of it.

        Raises:
            DataError: there is no event.
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
            SettingError: it is not a moment.
        """
        self.require_clock("before")
        return self._with(self.catalogue, self.events.before(moment(time, "time")))

    def no_later_than(self, time: Any) -> "Dataset":
        """The same events, those after a moment moved to it: what a server knows at that moment.

        Args:
            time: a datetime, a date, ISO 8601 text or microseconds.

        Raises:
            ClockError: the clock is not absolute.
            SettingError: it is not a moment.
        """
        self.require_clock("no_later_than")
        latest = moment(time, "time")
        return (
            self
            if self.end <= latest + 1
            else self._with(self.catalogue, self.events.no_later_than(latest))
        )

    def where(self, keep: NDArray[np.bool_]) -> "Dataset":
        """The events for which `keep` bool[events] holds; items and users keep their indices.

        Which events count is determined by those that are kept (`Events.where`).
        """
        return self._with(self.catalogue, self.events.where(keep))

    def onto(self, catalogue: Catalogue, known: NDArray[np.int32]) -> "Dataset":
        """These events with the indices of another catalogue, that has some of the items.

        Args:
            catalogue: whose indices to use.
            known: int32[items of `catalogue`], the index each has here; −1 where it has none.

        Returns:
            The same users; events of items the catalogue does not have are left out.
        """
        index = np.full(len(self.catalogue), -1, np.int32)
        index[known[known >= 0]] = np.flatnonzero(known >= 0).astype(np.int32)
        kept = self.events.where(index[self.events.item] >= 0)
        events = replace(kept, item=index[kept.item])
        return self._with(catalogue, events)

    def _with(self, catalogue: Catalogue, events: Events) -> "Dataset":
        """Part of the same data."""
        told = (self.kinds, self.clock, self.profiles)
        described = self.described if catalogue is self.catalogue else None
        return Dataset(
            *(catalogue, self.users, events, *told),
            sources=self.sources,
            left_out=self.left_out,
            described=described,
        )

    def require_clock(self, asked_by: str) -> None:
        """Refuses what needs moments in time where the data has none.

        Raises:
            ClockError: the clock is `ordinal` or `none`.
        """
        if self.clock != "absolute":
            raise ClockError(
                f"{asked_by} needs moments in time, and this data's clock is '{self.clock}'; map a "
                "timestamp column under [data.columns.events]"
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
            role: positive or negative events; signs are never added up.
            reduce: add the weights of a pair, or write 1 for each pair.
            half_life: microseconds in which an event loses half its weight, counted back from
                the end of the data.

        Raises:
            ClockError: a half-life was given and the clock is not absolute.
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
            users: [n] indices, as `users.indices(ids)` gives them.
            moments: [n] datetimes, dates, ISO 8601 texts or microseconds; only events strictly
                before count, and of these only the ones that were not replaced strictly before.
            seen: which past events keep an item away; by default `SeenPolicy.of(kinds)`.
            cap: the longest history.
            placement: the placement asked for.

        Raises:
            SettingError: there is no such user, a moment cannot be read, there are not as many
                moments as users, or `cap` is not an integer of at least 0.
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
    """What `Dataset.described` says."""
    if left_out.min_item_users:  # the rule holds
        return indexed.described
    if "served" not in log.columns:
        return np.ones(len(indexed.catalogue), np.bool_)
    described = indexed.described.copy()
    in_files = log.filter(~pl.col("served"))["item_id"].unique().cast(pl.String)
    described[indexed.catalogue.items.indices(in_files)] = True
    return described
