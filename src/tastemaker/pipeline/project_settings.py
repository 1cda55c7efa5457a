"""A trained version under the settings of today's project file, as far as they need no training.

What is fitted keeps the settings it was fitted with. What only says how lists are made from it is
read from the project file whenever a version is loaded: the value of objectives, rerankers with
their settings (rules, caps, variety), the seen policy and the time budgets of a placement.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from tastemaker.component import WANTED, Reranker
from tastemaker.data.profiles import ROLES
from tastemaker.errors import SettingError
from tastemaker.pipeline.fitting import Wiring, without_left_out
from tastemaker.pipeline.recommender import Recommender
from tastemaker.project import Placement
from tastemaker.project.sections import ProjectFile

_SHOWN = 3


def with_project_settings(
    recommender: Recommender, file: ProjectFile
) -> tuple[Recommender, list[str]]:
    """The same fitted parts with the project file's settings that need no training.

    Args:
        recommender: a loaded version; it stays as it is.
        file: the project file of today.

    Returns:
        The recommender, and the settings in which the file still differs from what it was trained
        with, such as `placements.home.retrievers.als is 10, was 20`; see `difference`.

    Raises:
        SettingError: a reranker of the file does not fit the version's items or sources.
    """
    adopted = copy(recommender)
    named = [name for name in file.placements if name in recommender.placements]
    kept = [name for name in recommender.placements if name not in named]
    adopted.placements = {
        **{n: _placement(recommender, n, file.placements[n]) for n in named},
        **{name: recommender.placements[name] for name in kept},
    }
    built = {name: part.build(name, Reranker) for name, part in file.rerankers.items()}
    adopted.rerankers = {**recommender.rerankers, **built}
    try:
        adopted.try_rerankers()
    except SettingError as problem:
        raise SettingError(
            f"the rerankers in the project file do not fit version {recommender.version}: "
            f"{problem}; correct them, or run `tastemaker train`"
        ) from None
    return adopted, _needing_training(adopted, file)


def difference(version: str, changes: list[str]) -> str:
    """One line that says what only takes effect with the next training; empty for no changes."""
    if not changes:
        return ""
    more = f" and {len(changes) - _SHOWN} more" * (len(changes) > _SHOWN)
    return (
        f"the project file differs from what version {version} was trained with: "
        f"{', '.join(changes[:_SHOWN])}{more}; run `tastemaker train`"
    )


def _placement(recommender: Recommender, name: str, wanted: Placement) -> Placement:
    """The trained placement with what can be taken over of the file's."""
    trained = recommender.placements[name]
    taken = {"rerankers": wanted.rerankers, "seen": wanted.seen, "budget": wanted.budget}
    if wanted.ranker == trained.ranker and trained.ranker is not None:
        ranker = recommender.rankers[trained.ranker]
        is_predicted = {*wanted.objective_weights} <= {*(ranker.objectives or (WANTED,))}
        if is_predicted and (len(wanted.objective_weights) < 2 or ranker.kind != "order"):
            taken["objective_weights"] = wanted.objective_weights
    return trained.model_copy(update=taken)


def _needing_training(adopted: Recommender, file: ProjectFile) -> list[str]:
    """What of the file is not so in a version that has taken over what it can."""
    today = Recommender.from_file(file)
    wiring = without_left_out(Wiring(today.retrievers, today.placements), adopted.left_out)
    today.retrievers, today.placements = wiring.retrievers, wiring.placements
    found = changes(_fitted_settings(adopted), _fitted_settings(today))
    columns = {name: column.role for name, column in adopted.inventory.catalogue.columns.items()}
    if file.data.items is not None:
        roles = {name: role.role for name, role in file.items.roles.items()}
        found += changes(columns, roles, "items.roles.")
    if file.data.users is not None:
        used = {n: role.role for n, role in file.users.roles.items() if role.role in ROLES}
        found += changes(adopted.inventory.profiles.roles, used, "users.roles.")
    if list(adopted.kinds.items()) != list(file.events.items()):
        found.append("[events]")
    return found


def _fitted_settings(recommender: Recommender) -> dict[str, Any]:
    """The settings that training reads; rerankers are taken over, memory limits every run."""
    read_settings = recommender.settings()
    del read_settings["rerankers"], read_settings["training"]["memory"]
    return read_settings


def changes(before: Mapping[str, Any], today: Mapping[str, Any], at: str = "") -> list[str]:
    """The settings that differ, as `placements.home.retrievers.als is 10, was 20`."""
    found: list[str] = []
    for name in [*before, *(name for name in today if name not in before)]:
        was, is_, where = before.get(name), today.get(name), f"{at}{name}"
        if isinstance(was, dict) and isinstance(is_, dict):
            found += changes(was, is_, f"{where}.")
        elif name not in before or name not in today:
            found.append(f"{where} is {'new' if name in today else 'gone'}")
        elif was != is_:
            found.append(f"{where} is {is_}, was {was}")
    return found
