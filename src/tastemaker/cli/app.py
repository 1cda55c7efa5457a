"""The commands. Each parses its arguments and calls the function that does the work."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from tastemaker.cli import answers, verbs
from tastemaker.cli import demo as demo_verb
from tastemaker.cli import doctor as doctor_verb
from tastemaker.cli import init as init_verb
from tastemaker.cli import keys as keys_verb
from tastemaker.cli import serve as serve_verb
from tastemaker.cli import versions as versions_verb
from tastemaker.cli.show import say
from tastemaker.cli.store_app import app as store_app
from tastemaker.cli.usage import Commands
from tastemaker.disk import fix_hint
from tastemaker.errors import InputError, SettingError, TastemakerError
from tastemaker.printable import log_printable, traceback_lines

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From an event log to honest, explained recommendations.",
)

ProjectPath = Annotated[
    Path | None,
    typer.Option("--project", help="The project file; by default in this folder or a parent."),
]
_COLUMN = "The column of {} in the event log, if it is not recognized."
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder for the project file.")] = Path(),
    events: Annotated[
        list[Path] | None, typer.Option(help="The event log; may be repeated.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="The item table.")] = None,
    users: Annotated[Path | None, typer.Option(help="The user table.")] = None,
    user_id: Annotated[str | None, typer.Option(help=_COLUMN.format("users"))] = None,
    item_id: Annotated[str | None, typer.Option(help=_COLUMN.format("items"))] = None,
    timestamp: Annotated[str | None, typer.Option(help=_COLUMN.format("times"))] = None,
    event_type: Annotated[str | None, typer.Option(help=_COLUMN.format("event types"))] = None,
    value: Annotated[str | None, typer.Option(help=_COLUMN.format("ratings or amounts"))] = None,
    event_id: Annotated[str | None, typer.Option(help=_COLUMN.format("event ids"))] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing project file.")] = False,
    as_json: Json = False,
) -> None:
    """Inspect the data files and write a commented tastemaker.toml."""
    tables = {"events": events or [], "items": [items] if items else []}
    tables["users"] = [users] if users else []
    columns = {
        "user_id": user_id,
        "item_id": item_id,
        "event_type": event_type,
        "value": value,
        "timestamp": timestamp,
        "event_id": event_id,
    }
    init_verb.init(
        folder,
        {name: files for name, files in tables.items() if files},
        {ours: theirs for ours, theirs in columns.items() if theirs is not None},
        force,
        as_json,
    )


@app.command()
def validate(project: ProjectPath = None, as_json: Json = False) -> None:
    """Read the data and report its content and its unusable rows."""
    verbs.validate(project, as_json)


@app.command()
def train(
    project: ProjectPath = None,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Save the version, but do not serve it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit all components on all data, save a version, and serve it from then on."""
    verbs.train(project, not no_promote, as_json)


@app.command()
def evaluate(
    project: ProjectPath = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Length of the lists.")] = 10,
    window: Annotated[str, typer.Option(help="test, or validation to tune settings.")] = "test",
    as_json: Json = False,
) -> None:
    """Evaluate each retriever and the whole pipeline on the last part of the data."""
    verbs.evaluate(project, k, window, as_json)


@app.command()
def recommend(
    project: ProjectPath = None,
    user: Annotated[str | None, typer.Option(help="A user id.")] = None,
    history: Annotated[
        str | None,
        typer.Option(
            help="Item ids that an anonymous user liked, separated by commas, oldest first."
        ),
    ] = None,
    all_users: Annotated[
        bool, typer.Option("--all", help="Recommend to every known user.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="With --all: a .parquet or .csv file.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="How many items.")] = 20,
    placement: Annotated[
        str | None, typer.Option(help="The placement; by default the first one.")
    ] = None,
    trace: Annotated[bool, typer.Option(help="With --json: add a trace of all stages.")] = False,
    as_json: Json = False,
) -> None:
    """Recommend items to a user, to an anonymous user with a history, or to all users."""
    options = answers.RecommendOptions(user, history, n, placement)
    if output is not None and not all_users:
        raise SettingError("--output requires --all")
    if all_users:
        answers.recommend_all(project, options, output, as_json)
    else:
        answers.recommend(project, options, trace, as_json)


@app.command()
def rank(
    user: Annotated[str, typer.Argument(help="A user id.")],
    items: Annotated[list[str], typer.Argument(help="The ids of the items to rank.")],
    project: ProjectPath = None,
    placement: Annotated[
        str | None, typer.Option(help="The placement; by default the first one.")
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items that the user has seen.")
    ] = False,
    trace: Annotated[bool, typer.Option(help="With --json: add a trace of all stages.")] = False,
    as_json: Json = False,
) -> None:
    """Order given items by relevance to a user."""
    options = answers.RecommendOptions(
        user, None, len(items), placement, tuple(items), exclude_seen
    )
    answers.recommend(project, options, trace, as_json)


@app.command()
def similar(
    item: Annotated[str, typer.Argument(help="An item id.")],
    project: ProjectPath = None,
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="How many items.")] = 20,
    retriever: Annotated[str | None, typer.Option(help="The source to use.")] = None,
    as_json: Json = False,
) -> None:
    """List the items most similar to an item."""
    answers.similar(project, item, n, retriever, as_json)


@app.command()
def serve(
    project: ProjectPath = None,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen on; beyond loopback, an API key is needed."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port; 0 selects a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Number of worker processes.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
) -> None:
    """Serve recommendations over HTTP, with a page to try them, until Ctrl-C."""
    serve_verb.serve(verbs.open_project(project), host, port, workers, browser)


@app.command()
def doctor(project: ProjectPath = None, as_json: Json = False) -> None:
    """Find problems with machine, project, data, store and model, and their fixes."""
    doctor_verb.doctor(project, as_json)


@app.command()
def demo(
    fresh: Annotated[bool, typer.Option(help="Start over.")] = False,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="Stop after the evaluation.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(min=0, max=65_535, help="The port of the page; if it is taken, another one."),
    ] = 8765,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
    as_json: Json = False,
) -> None:
    """Train on the bundled MovieLens extract, evaluate, recommend, and serve a page."""
    demo_verb.demo(fresh, None if no_serve else demo_verb.Page(port, not no_browser), as_json)


versions_app = typer.Typer(invoke_without_command=True)
app.add_typer(versions_app, name="versions")


@versions_app.callback()
def versions(context: typer.Context, project: ProjectPath = None, as_json: Json = False) -> None:
    """List trained versions; promote a version, roll back, or prune."""
    context.obj = versions_verb.Options(project, as_json)
    if context.invoked_subcommand is None:
        versions_verb.versions(context.obj)


@versions_app.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="A name from `tastemaker versions`.")],
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Verify a version and serve it."""
    versions_verb.promote(versions_verb.Options(project, as_json).within(context.obj), version)


@versions_app.command()
def rollback(context: typer.Context, project: ProjectPath = None, as_json: Json = False) -> None:
    """Return to the version that served before; repeat to go further back."""
    versions_verb.rollback(versions_verb.Options(project, as_json).within(context.obj))


@versions_app.command()
def prune(
    context: typer.Context,
    keep: Annotated[int, typer.Option("--keep", min=1, help="Number of newest versions to keep.")],
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Remove old versions, but not the current one or the one for a rollback."""
    versions_verb.prune(versions_verb.Options(project, as_json).within(context.obj), keep)


app.add_typer(store_app, name="store")

keys_app = typer.Typer(invoke_without_command=True)
app.add_typer(keys_app, name="keys")


@keys_app.callback()
def keys(context: typer.Context, project: ProjectPath = None, as_json: Json = False) -> None:
    """List the API keys of the server; add or remove one."""
    context.obj = versions_verb.Options(project, as_json)
    if context.invoked_subcommand is None:
        keys_verb.keys(context.obj)


@keys_app.command("add")
def add_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the key.")],
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Create an API key and print it once; only its digest is stored."""
    keys_verb.add(versions_verb.Options(project, as_json).within(context.obj), name)


@keys_app.command("remove")
def remove_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name from `tastemaker keys`.")],
    project: ProjectPath = None,
    as_json: Json = False,
) -> None:
    """Remove an API key; a running server rejects it at once."""
    keys_verb.remove(versions_verb.Options(project, as_json).within(context.obj), name)


def main() -> None:
    """Runs the command line; user errors print one line and exit with code 2."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    log_printable()
    try:
        app(standalone_mode=True)
    except InputError as problem:
        _stop(str(problem), 2)
    except TastemakerError as problem:
        _stop(str(problem), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        _stop(f"{place}{problem.strerror or problem}{fix_hint(problem)}", 1)
    except Exception as problem:
        # the interpreter would print ids and titles without escapes
        _stop(f"unexpected {type(problem).__name__}: {problem}", 1, traceback_lines(problem))


def _stop(message: str, code: int, details: Iterable[str] = ()) -> None:
    say("\n".join([f"error: {message}", *(f"  {line}" for line in details)]))
    sys.exit(code)
