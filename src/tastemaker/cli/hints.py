"""What of a project file is in order, but has no effect as it stands."""

from tastemaker.cli import show
from tastemaker.project import Project


def tell_without_effect(project: Project) -> None:
    """Says that columns of users are read by rankers alone, where no placement has one."""
    file = project.file
    if not file.users.roles or any(placement.ranker for placement in file.placements.values()):
        return
    show.say(
        f"[users.roles] {', '.join(file.users.roles)}: no effect without a ranker, which alone "
        'reads them; add [rankers.main] with type = "gbm", and ranker = "main" to a placement'
    )
