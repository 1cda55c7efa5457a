"""Messages about valid settings of a project file that have no effect."""

from tastemaker.cli import show
from tastemaker.project import Project


def report_without_effect(project: Project) -> None:
    """Reports user columns in a project without a ranker, which alone would read them."""
    file = project.file
    if not file.users.roles or any(placement.ranker for placement in file.placements.values()):
        return
    show.say(
        f"[users.roles] {', '.join(file.users.roles)}: no effect, because only a ranker "
        'reads them; add [rankers.main] with type = "gbm", and ranker = "main" to a placement'
    )
