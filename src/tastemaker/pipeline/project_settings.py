"""Applies the settings of the current project file that need no training to a trained version.

Fitted components keep the settings they were fitted with. Settings that only control how lists are
built are read from the project file whenever a version is loaded: the objective weights, the
rerankers with their settings (rules, caps, diversity), the seen policy and the time budgets of a
placement.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from tastemaker.component import RELEVANT, Reranker
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
    """The same fitted components with the settings of the project file that need no training.

    Args:
        recommender: a loaded version; it is not changed.
        file: the current project file.

    Returns:
        The recommender, and the settings in which the file still differs from those of training,
        such as `placements.home.retrievers.als is 10, was 20`; see `difference`.

    Raises:
        SettingError: a reranker of the file does not fit the version's items or sources.
    """
    adopted = copy(recommender)
    shared = [name for name in file.placements if name in recommender.placements]
    kept = [name for name in recommender.placements if name not in shared]
    adopted.placements = {
        **{n: _placement(recommender, n, file.placements[n]) for n in shared},
        **{name: recommender.placements[name] for name in kept},
    }
    built = {name: part.build(name, Reranker) for name, part in file.rerankers.items()}
    adopted.rerankers = {**recommender.rerankers, **built}
    try:
        adopted.try_rerankers()
    except SettingError as problem:
        raise SettingError(
            f"the rerankers in the project file do not fit version {recommender.version}: "
            f"{problem}; fix them, or run `tastemaker train`"
        ) from None
    return adopted, _untrained_changes(adopted, file)


def difference(version: str, changes: list[str]) -> str:
    """One line that lists the changes that need training; empty if there are none."""
    if not changes:
        return ""
    more = f" and {len(changes) - _SHOWN} more" * (len(changes) > _SHOWN)
    return (
        f"the project file differs from what version {version} was trained with: "
        f"{', '.join(changes[:_SHOWN])}{more}; run `tastemaker train`"
    )


def _placement(recommender: Recommender, name: str, current: Placement) -> Placement:
    """The trained placement with the current settings that need no training."""
    trained = recommender.placements[name]
    update = {"rerankers": current.rerankers, "seen": current.seen, "budget": current.budget}
    if current.ranker == trained.ranker and trained.ranker is not None:
        ranker = recommender.rankers[trained.ranker]
        is_predicted = {*current.objective_weights} <= {*(ranker.objectives or (RELEVANT,))}
        if is_predicted and (len(current.objective_weights) < 2 or ranker.kind != "order"):
            update["objective_weights"] = current.objective_weights
    return trained.model_copy(update=update)


def _untrained_changes(adopted: Recommender, file: ProjectFile) -> list[str]:
    """The settings of the file that need training, as far as they differ from the version."""
    current = Recommender.from_file(file)
    wiring = without_left_out(Wiring(current.retrievers, current.placements), adopted.left_out)
    current.retrievers, current.placements = wiring.retrievers, wiring.placements
    found = changes(_fitted_settings(adopted), _fitted_settings(current))
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
    """The settings that training reads: without rerankers and the memory budget."""
    settings = recommender.settings()
    del settings["rerankers"], settings["training"]["memory"]
    return settings


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings that differ, as `placements.home.retrievers.als is 10, was 20`."""
    found: list[str] = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new, path = before.get(name), after.get(name), f"{prefix}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += changes(old, new, f"{path}.")
        elif name not in before or name not in after:
            found.append(f"{path} is {'new' if name in after else 'removed'}")
        elif old != new:
            found.append(f"{path} is {new}, was {old}")
    return found
