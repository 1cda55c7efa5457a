"""The commands of `tastemaker store`."""

from pathlib import Path
from typing import Annotated

import typer

from tastemaker.cli import store as store_verb
from tastemaker.cli.versions import Options
from tastemaker.store.removing import EventFilter

ProjectPath = Annotated[
    Path | None,
    typer.Option("--project", help="The project file; by default in this folder or a parent."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Users = Annotated[list[str] | None, typer.Option("--user", help="A user id; may be repeated.")]
Items = Annotated[list[str] | None, typer.Option("--item", help="An item id; may be repeated.")]
Types = Annotated[
    list[str] | None, typer.Option("--event-type", help="An event type; may be repeated.")
]
From = Annotated[str | None, typer.Option("--from", help="From this time on, ISO 8601.")]
Until = Annotated[str | None, typer.Option("--until", help="Before this time, ISO 8601.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Maximum number of rows.")]
Undescribed = Annotated[
    bool,
    typer.Option("--undescribed", help="Items that neither the item table nor a PUT describes."),
]
MaxUsers = Annotated[
    int | None,
    typer.Option("--max-users", min=0, help="Items with events of at most this many users."),
]
Yes = Annotated[
    bool,
    typer.Option("--yes/--dry-run", help="Remove; by default, only count what would be removed."),
]

app = typer.Typer(
    no_args_is_help=True, help="List and remove the content of the store; free disk space."
)
events_app = typer.Typer(no_args_is_help=True, help="List and remove events.")
users_app = typer.Typer(no_args_is_help=True, help="List and remove users.")
items_app = typer.Typer(no_args_is_help=True, help="List and remove items.")
app.add_typer(events_app, name="events")
app.add_typer(users_app, name="users")
app.add_typer(items_app, name="items")


@app.command()
def stats(project: ProjectPath = None, as_json: Json = False) -> None:
    """Show the counts and sizes of the store, and what was removed."""
    store_verb.stats(Options(project, as_json))


@app.command()
def prune(
    project: ProjectPath = None,
    older_than: Annotated[
        str | None, typer.Option(help="A duration such as 7d; by default [store] keep_decisions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove decisions beyond the age and size limits; a server does this itself."""
    store_verb.prune(Options(project, as_json), older_than)


@app.command()
def compact(project: ProjectPath = None, as_json: Json = False) -> None:
    """Shrink the file to the size of its content; no server may be running."""
    store_verb.compact(Options(project, as_json))


@events_app.command("list")
def list_events(
    user: Users = None,
    item: Items = None,
    event_type: Types = None,
    since: From = None,
    until: Until = None,
    limit: Limit = 50,
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """List events, latest first."""
    event_filter = _filter(user, item, event_type, since, until)
    store_verb.show_events(Options(project, as_json), event_filter, limit)


@events_app.command("remove")
def remove_events(
    user: Users = None,
    item: Items = None,
    event_type: Types = None,
    since: From = None,
    until: Until = None,
    yes: Yes = False,
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Remove the events that match all options, also from files imported later."""
    event_filter = _filter(user, item, event_type, since, until)
    store_verb.remove_events(Options(project, as_json), event_filter, yes)


@users_app.command("list")
def list_users(
    user: Users = None, limit: Limit = 50, project: ProjectPath = None, as_json: Json = False
) -> None:
    """List users, those with the most events first."""
    store_verb.show_users(Options(project, as_json), user or (), limit)


@users_app.command("remove")
def remove_users(
    user: Users = None, yes: Yes = False, project: ProjectPath = None, as_json: Json = False
) -> None:
    """Remove users with their events, attributes and decisions."""
    store_verb.remove_users(Options(project, as_json), user or (), yes)


@items_app.command("list")
def list_items(
    item: Items = None,
    undescribed: Undescribed = False,
    max_users: MaxUsers = None,
    limit: Limit = 50,
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """List items, those with the most events first."""
    options = Options(project, as_json)
    store_verb.show_items(options, item or (), undescribed, max_users, limit)


@items_app.command("remove")
def remove_items(
    item: Items = None,
    undescribed: Undescribed = False,
    max_users: MaxUsers = None,
    yes: Yes = False,
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Remove items with their events; they are not shown until a PUT adds them again."""
    options = Options(project, as_json)
    store_verb.remove_items(options, item or (), undescribed, max_users, yes)


def _filter(
    user: list[str] | None,
    item: list[str] | None,
    event_type: list[str] | None,
    since: str | None,
    until: str | None,
) -> EventFilter:
    return EventFilter(
        tuple(user or ()),
        tuple(item or ()),
        tuple(event_type or ()),
        store_verb.moment_of(since, "--from"),
        store_verb.moment_of(until, "--until"),
    )
