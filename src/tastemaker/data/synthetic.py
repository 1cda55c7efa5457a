"""Synthetic worlds of any size whose true preferences are known in closed form.

For tests, simulation and benchmarks: whoever recommends can be compared with the truth itself.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from tastemaker.config import Settings
from tastemaker.data.dataset import Dataset
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.times import MICROSECONDS
from tastemaker.errors import UnknownIdError

KINDS = ("view", "purchase", "dislike")
SCHEMA = Schema(
    kinds={
        "view": EventKind(),
        "purchase": EventKind(weight=6.0),
        "dislike": EventKind(role="negative", hide_item=True),
    },
    time_unit="us",
    item_roles={
        "title": ColumnRole(role="text"),
        "tags": ColumnRole(role="tags", separator="|"),
        "category": ColumnRole(role="category"),
        "published": ColumnRole(role="time"),
    },
)
_END = 1_704_067_200 * MICROSECONDS["s"]  # 2024-01-01: no world reaches into the future
_OLDEST = 365 * MICROSECONDS["d"]  # items of the first day were published within the year before
_GAP = MICROSECONDS["m"]  # mean time between two events of a session
_STYLES = 12
_ROUNDS = 100


class SyntheticSettings(Settings):
    """What a synthetic world is like."""

    users: int = Field(1_000, ge=1)
    """How many users there are."""
    items: int = Field(2_000, ge=1)
    """How many items there are in the end."""
    events: int = Field(50_000, ge=1)
    """How many events are logged."""
    tastes: int = Field(10, ge=1, le=1_000)
    """How many clusters the items fall into; equally large."""
    days: int = Field(90, ge=1, le=3_650)
    """How long the world lasts; sessions start evenly over it."""
    popularity: float = Field(1.0, ge=0, le=5)
    """Exponent of Zipf's law within a taste; 0 makes its items equally popular."""
    concentration: float = Field(0.1, gt=0, le=1_000)
    """Dirichlet parameter of the users' mixtures: small, one taste each; large, all of them."""
    activity: float = Field(1.0, ge=0, le=3)
    """Spread of the users' activity (σ of a log-normal law); 0 makes users equally active."""
    session_events: float = Field(5.0, ge=1)
    """Mean number of events in a session; the events of one are about a minute apart."""
    drift: float = Field(0.3, ge=0, le=1)
    """Share of a user's mixture replaced, little by little, between the first and the last day."""
    new_items: float = Field(0.2, ge=0, lt=1)
    """Share of the items that are published while the world lasts, evenly over it."""
    repeats: bool = False
    """Whether a user may choose an item again."""
    purchases: float = Field(0.1, ge=0, le=1)
    """Probability of a purchase per unit of the user's share in the item's taste."""
    dislikes: float = Field(0.05, ge=0, le=1)
    """Probability of a dislike per unit of the user's lack of share in the item's taste."""
    seed: int = Field(0, ge=0)
    """Equal settings and seed give equal worlds."""

    @model_validator(mode="after")
    def _an_item_per_taste(self) -> Self:
        if self.tastes > self.items:
            raise ValueError(f"needs an item per taste: {self.tastes} tastes, {self.items} items")
        if self.purchases + self.dislikes > 1:
            raise ValueError("'purchases' and 'dislikes' must not exceed 1 together")
        return self


class SyntheticWorld:
    """A log of events, the items, and the truth behind both.

    A latent-class model (Hofmann & Puzicha 1999). Item i belongs to one taste c(i), with weight
    w_i by Zipf's law; user u has a mixture θ_u over tastes, which moves on a straight line from
    one draw of a Dirichlet law to another. With d the drift and s the share of the span gone by
    at time t,

        θ_u(t)     = (1 − d·s)·θ_u(first) + d·s·θ_u(last)
        P(i | u,t) = θ_u(t)[c(i)] · w_i / Σ w_j,   over the j of taste c(i) published by t

    and in a world without repeats the same over the items u has not chosen before t. What follows
    the choice of i is a purchase with probability `purchases`·θ_u(t)[c(i)], a dislike with
    `dislikes`·(1 − θ_u(t)[c(i)]), otherwise a view.

    Without repeats, a user who has nearly exhausted their tastes stops early, so that there may
    be fewer events than asked for. Cost: 10 M events in seconds, about 150 bytes an event.

    Args:
        settings: the fields of `SyntheticSettings`.

    Attributes:
        settings: what the world is like.
        events: user_id, item_id, event_type (text), timestamp (int64, microseconds); in time's
            order.
        items: item_id, title, tags (joined by `|`), category (text), published (int64,
            microseconds); item `i7` stands in row 7.
        start: the first moment, microseconds.
        end: the moment up to which sessions start.

    Raises:
        SettingError: a setting is unknown or out of range.

    >>> world = SyntheticWorld(users=50, items=100, events=1_000, seed=3)
    >>> truth = world.probabilities(["u0", "u7"], world.end)
    >>> truth.shape, bool(np.allclose(truth.sum(axis=1), 1))
    ((2, 100), True)
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = SyntheticSettings.checked(settings, owner=type(self).__name__)
        self.end = _END
        self.start = _END - self.settings.days * MICROSECONDS["d"]
        streams = np.random.SeedSequence(self.settings.seed).spawn(4)
        items, mixtures, moments, choices = (np.random.default_rng(s) for s in streams)
        self._create_items(items)
        self._create_mixtures(mixtures)
        user, time = self._moments(moments)
        item, kind = self._choices(choices, user, time)
        chosen = np.flatnonzero(item >= 0)
        log = chosen[np.argsort(time[chosen], kind="stable")]
        user_ids = pl.Series([f"u{index}" for index in range(self.settings.users)])
        self.events = pl.DataFrame(
            {
                "user_id": user_ids.gather(user[log]),
                "item_id": self.items["item_id"].gather(item[log]),
                "event_type": pl.Series(KINDS).gather(kind[log]),
                "timestamp": time[log],
            }
        )

    def dataset(self) -> Dataset:
        """The world as a recommender sees it: events and items, not the truth."""
        return Dataset.from_frames(self.events, items=self.items, schema=SCHEMA)

    def probabilities(
        self, users: Sequence[str], times: ArrayLike, *, kind: str | None = None
    ) -> NDArray[np.float64]:
        """The truth: with which probability each item is the next that a user chooses.

        Args:
            users: n user ids.
            times: one moment for all, or int64[n]; microseconds.
            kind: only choices followed by this kind of event; rows then sum to less than 1.

        Returns:
            float64[n, items], columns in the order of `items`. Rows sum to 1, or to 0 for a user
            who has chosen everything in a world without repeats.

        Raises:
            UnknownIdError: there is no such user or kind.
        """
        moments = np.broadcast_to(np.asarray(times, np.int64), (len(users),))
        mixture = self._mixture(self._index(users), moments)
        begin, stop = self._published(np.arange(self.settings.tastes), moments[:, None])
        per_weight = mixture / (self._cumulative[stop] - self._cumulative[begin])
        truth: NDArray[np.float64] = per_weight[:, self._taste] * self._weight
        truth[self._release > self._elapsed(moments)[:, None]] = 0.0
        if not self.settings.repeats:
            row, item = self._past(users, moments)
            truth[row, item] = 0.0
            total = truth.sum(axis=1, keepdims=True)
            np.divide(truth, total, out=truth, where=total > 0)
        if kind is not None:
            if kind not in KINDS:
                raise UnknownIdError(f"no kind '{kind}' in this world; known: {', '.join(KINDS)}")
            truth *= self._reactions(mixture)[KINDS.index(kind)][:, self._taste]
        return truth

    def best(self, user: str, time: int, n: int) -> list[str]:
        """The ids of the n items that a user chooses most probably next, best first."""
        truth = self.probabilities([user], time)[0]
        first = np.argsort(-truth, kind="stable")[:n]
        return [f"i{index}" for index in first if truth[index] > 0]

    def _create_items(self, rng: np.random.Generator) -> None:
        """Tastes, weights and publication; items laid out by (taste, publication) as well.

        Of one taste, the items published by any moment are then a run of slots, and drawing one
        is an inversion of cumulated weights between the ends of that run.
        """
        settings = self.settings
        n, tastes = settings.items, settings.tastes
        self._taste = np.arange(n) % tastes
        by_taste = np.lexsort((rng.random(n), self._taste))
        sizes = np.bincount(self._taste, minlength=tastes)
        self._begin = np.concatenate([[0], np.cumsum(sizes)])
        rank = np.empty(n)
        rank[by_taste] = np.arange(n) - self._begin[self._taste[by_taste]] + 1
        self._weight = rank**-settings.popularity
        published = self.start - rng.integers(0, _OLDEST, n)
        # The first item of every taste is old, so that no taste is ever empty.
        new = tastes + rng.permutation(n - tastes)[: int(settings.new_items * n)]
        published[new] = rng.integers(self.start + 1, self.end, len(new))
        self._release = np.maximum(published - self.start, 0)
        self._slots = np.lexsort((self._release, self._taste))
        self._releases = self._release_key(self._taste, self._release)[self._slots]
        self._cumulative = np.concatenate([[0.0], np.cumsum(self._weight[self._slots])])
        styles = rng.integers(0, _STYLES, n)
        shelves = round(tastes**0.5)
        self.items = pl.DataFrame(
            {
                "item_id": [f"i{index}" for index in range(n)],
                "title": [f"Item {i} of taste {taste}" for i, taste in enumerate(self._taste)],
                "tags": [f"taste{t}|style{s}" for t, s in zip(self._taste, styles)],
                "category": [f"shelf{taste % shelves}" for taste in self._taste],
                "published": published,
            }
        )

    def _create_mixtures(self, rng: np.random.Generator) -> None:
        """θ(first) and θ(last), float64[2, users, tastes], and both cumulated, row r from r on."""
        tastes, users = self.settings.tastes, self.settings.users
        law = np.full(tastes, self.settings.concentration)
        self._mixtures = np.stack([rng.dirichlet(law, users), rng.dirichlet(law, users)])
        steps = np.cumsum(self._mixtures.reshape(-1, tastes), axis=1)
        steps[:, -1] = 1.0
        self._steps = (np.minimum(steps, 1.0) + np.arange(len(steps))[:, None]).ravel()

    def _moments(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The user and time of every event, in the order of (user, time)."""
        settings = self.settings
        activity = np.exp(settings.activity * rng.standard_normal(settings.users))
        counts = rng.multinomial(settings.events, activity / activity.sum())
        user = np.repeat(np.arange(settings.users), counts)
        opens = rng.random(len(user)) < 1 / settings.session_events
        opens[np.concatenate([[0], np.cumsum(counts)[:-1]])[counts > 0]] = True
        session = np.cumsum(opens) - 1
        gone = np.cumsum((rng.standard_exponential(len(user)) * _GAP).astype(np.int64) + 1)
        begins = rng.integers(self.start, self.end, session[-1] + 1)
        time = (begins - gone[opens])[session] + gone
        return user, time[np.lexsort((time, user))]

    def _choices(
        self, rng: np.random.Generator, user: NDArray[np.int64], time: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The item chosen at every event (−1: none was left), and the kind of what follows."""
        item = self._draw(rng, user, time)
        if not self.settings.repeats:
            self._redraw_repeats(rng, user, time, item)
        share = self._share(user, self._taste[item], time)
        _, purchase, dislike = self._reactions(share)
        chance = rng.random(len(item))
        kind = np.where(chance < purchase, 1, np.where(chance < purchase + dislike, 2, 0))
        return item, kind.astype(np.int8)

    def _draw(
        self, rng: np.random.Generator, user: NDArray[np.int64], time: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """One independent choice per event: of a taste, then of an item published by then."""
        tastes = self.settings.tastes
        row = user + self.settings.users * (rng.random(len(user)) < self._moved(time))
        place = np.searchsorted(self._steps, row + rng.random(len(user)), side="right")
        taste = np.minimum(place - row * tastes, tastes - 1)
        begin, stop = self._published(taste, time)
        low, high = self._cumulative[begin], self._cumulative[stop]
        sought = low + rng.random(len(user)) * (high - low)
        slot = np.searchsorted(self._cumulative, sought, side="right") - 1
        item: NDArray[np.int64] = self._slots[np.clip(slot, begin, stop - 1)]
        return item

    def _redraw_repeats(
        self,
        rng: np.random.Generator,
        user: NDArray[np.int64],
        time: NDArray[np.int64],
        item: NDArray[np.int64],
    ) -> None:
        """Draws again, in place, wherever a user chose the item before; −1 if that never ends.

        Exactly what drawing event after event with rejection would give: an event gives an item
        up only to an earlier one that holds it, so what was refused once stays taken.
        """
        active = np.arange(len(user))
        for _ in range(_ROUNDS):
            pair = user[active] * self.settings.items + item[active]
            order = np.argsort(pair, kind="stable")
            again = active[order[1:][pair[order[1:]] == pair[order[:-1]]]]
            if not len(again):
                return
            again.sort()
            item[again] = self._draw(rng, user[again], time[again])
            pending = np.zeros(self.settings.users, np.bool_)
            pending[user[again]] = True
            active = active[pending[user[active]]]
        pair = user[active] * self.settings.items + item[active]
        first = np.unique(pair, return_index=True)[1]
        item[np.delete(active, first)] = -1

    def _past(
        self, users: Sequence[str], moments: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and item of everything the users chose before their moments."""
        asked = pl.DataFrame({"user_id": users, "moment": moments, "row": range(len(users))})
        past = self.events.join(asked, on="user_id").filter(pl.col("timestamp") < pl.col("moment"))
        item = past["item_id"].str.slice(1).cast(pl.Int64)
        return past["row"].cast(pl.Int64).to_numpy(), item.to_numpy()

    def _index(self, users: Sequence[str]) -> NDArray[np.int64]:
        count = self.settings.users
        for user in users:
            if not (user[1:].isdecimal() and user == f"u{int(user[1:])}" and int(user[1:]) < count):
                raise UnknownIdError(f"no user '{user}' in this world: they are u0 to u{count - 1}")
        return np.array([int(user[1:]) for user in users], np.int64)

    def _elapsed(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Microseconds since the start, within the span."""
        return np.clip(times - self.start, 0, self.end - self.start)

    def _moved(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """d·s: how much of the mixture is the last day's."""
        return self.settings.drift * self._elapsed(times) / (self.end - self.start)

    def _share(
        self, user: NDArray[np.int64], taste: NDArray[np.int64], times: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """θ_user(time)[taste], element by element."""
        first, last = self._mixtures[0][user, taste], self._mixtures[1][user, taste]
        share: NDArray[np.float64] = first + self._moved(times) * (last - first)
        return share

    def _mixture(self, user: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.float64]:
        """θ_user(time), float64[n, tastes]."""
        return self._share(user[:, None], np.arange(self.settings.tastes), times[:, None])

    def _reactions(
        self, share: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The probabilities of view, purchase and dislike, in the order of `KINDS`."""
        purchase = self.settings.purchases * share
        dislike = self.settings.dislikes * (1 - share)
        return 1 - purchase - dislike, purchase, dislike

    def _release_key(
        self, taste: NDArray[np.int64], elapsed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """One integer that sorts by (taste, publication)."""
        return taste * (self.end - self.start + 1) + elapsed

    def _published(
        self, taste: NDArray[np.int64], times: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First slot and one past the last of what is published of a taste by a moment."""
        key = self._release_key(taste, self._elapsed(times))
        stop = np.searchsorted(self._releases, key, side="right")
        return np.broadcast_to(self._begin[taste], stop.shape), stop
