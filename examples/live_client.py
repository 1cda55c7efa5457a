"""An HTTP client that checks the live updates of a running server, step by step.

    tastemaker demo                   # in one terminal
    python examples/live_client.py    # in another

It shows the effect of an anonymous user's first events, a like, a dislike and a new film. The
project's own data is used to find the users with the strongest interest in a genre.
"""

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np

from tastemaker.cli.demo import demo_folder
from tastemaker.data.catalogue import TagsColumn
from tastemaker.data.dataset import Dataset
from tastemaker.project import load_project
from tastemaker.store import EventSource

VISITOR_LIKES = ("1214", "1200", "2288")
"""Alien, Aliens, The Thing."""
FANS = 20
PRIOR_LIKES = 10.0


class Client:
    """The API calls of this example."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def recommend(self, **request: Any) -> dict[str, Any]:
        """`POST /v1/recommendations`."""
        return self._call("POST", "/v1/recommendations", request)

    def items(self, **request: Any) -> list[str]:
        """The ids of the recommended items."""
        return [item["item_id"] for item in self.recommend(**request)["items"]]

    def send_event(self, user_id: str, item_id: str, event_type: str) -> None:
        """`POST /v1/events`; returns when the event is on disk."""
        event = {"user_id": user_id, "item_id": item_id, "event_type": event_type}
        self._call("POST", "/v1/events", event)

    def put(self, item_id: str, **attributes: Any) -> None:
        """`PUT /v1/items/{id}`; returns when the item can be recommended."""
        self._call("PUT", f"/v1/items/{quote(item_id)}", attributes)

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - the caller chooses the server
            self._url + path, json.dumps(body).encode(), headers, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            content: dict[str, Any] = json.load(response)
            return content


def fans(data: Dataset, genre: str, n: int) -> list[str]:
    """The users with the strongest affinity to a genre.

    Affinity is (likes in it + 10 · the share of all likes in it) / (likes + 10).
    """
    genres = data.catalogue.columns["genres"]
    assert isinstance(genres, TagsColumn)
    code = genres.labels.index(genre)
    of_genre = np.array([code in genres.codes[item] for item in range(len(data.catalogue))])
    liked = data.events.weight > 0
    user, item = data.events.user[liked], data.events.item[liked]
    likes = np.bincount(user, minlength=len(data.users))
    inside = np.bincount(user, weights=of_genre[item], minlength=len(data.users))
    share = inside.sum() / max(likes.sum(), 1)
    affinity = (inside + PRIOR_LIKES * share) / (likes + PRIOR_LIKES)
    return data.users.ids(np.argsort(-affinity, kind="stable")[:n])


def steps(client: Client, data: Dataset, genre: str) -> Iterator[tuple[str, bool]]:
    """The result of each step as text, and whether it is as expected."""
    visitor = f"visitor-{uuid4().hex[:8]}"
    before = client.recommend(user_id=visitor)
    for item in VISITOR_LIKES:
        client.send_event(visitor, item, "like")
    served = client.recommend(user_id=visitor)
    listed = [item["item_id"] for item in served["items"]]
    same = served["model_version"] == before["model_version"]
    personal = sum(
        any(reason["kind"] == "because_you_liked" for reason in item["reasons"])
        for item in served["items"]
    )
    text = f"a new visitor with three events: {personal} of {len(listed)} films because of them"
    changed = listed != [item["item_id"] for item in before["items"]]
    yield f"{text}, without retraining", changed and same and personal > len(listed) / 2

    clicked = listed[4]
    client.send_event(visitor, clicked, "like")
    after = client.items(user_id=visitor)
    moved = sum(item not in listed for item in after)
    yield f"one like: {moved} of {len(after)} films are different", clicked not in after != listed

    disliked = after[0]
    client.send_event(visitor, disliked, "dislike")
    lists = [client.items(user_id=visitor, n=1_000)]
    for item in after[1:6]:
        client.send_event(visitor, item, "like")
        lists.append(client.items(user_id=visitor, n=1_000))
    never = all(disliked not in items for items in lists)
    yield f"a disliked film is in none of {len(lists)} lists of up to 1,000", never

    new = f"new-{uuid4().hex[:8]}"
    users = fans(data, genre, FANS)
    begun = time.monotonic()
    client.put(new, title="Whisper in the Cellar", genres=[genre])
    first: float | None = None
    shown_to = 0
    for user in users:
        if new in client.items(user_id=user):
            shown_to += 1
            first = time.monotonic() - begun if first is None else first
    text = f"a new {genre} film is in the lists of {shown_to} of its {FANS} greatest fans"
    when = "" if first is None else f", for the first after {first:.2f} s"
    yield f"{text}{when}", first is not None and first < 1.0


def main() -> int:
    """Runs the steps; 0 if all results are as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", default="http://127.0.0.1:8765")
    parser.add_argument("--project", type=Path, default=demo_folder() / "tastemaker.toml")
    parser.add_argument("--genre", default="Horror")
    given = parser.parse_args()
    data = EventSource(load_project(given.project)).read()
    all_passed = True
    for text, passed in steps(Client(given.url), data, given.genre):
        print(f"{'✓' if passed else '✗'} {text}")
        all_passed = all_passed and passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
