"""`keys`: who may ask the server."""

from typing import TYPE_CHECKING

from tastemaker.cli import show, verbs
from tastemaker.cli.versions import About

if TYPE_CHECKING:
    from tastemaker.serving.keys import KeyFile


def keys(about: About) -> None:
    """Lists every key by name; the keys themselves are kept nowhere."""
    file = _file(about)
    found = file.listed()
    if about.as_json:
        show.result_json({"keys": [{"name": key.name, "made": key.made} for key in found]})
    elif found:
        width = max(len(key.name) for key in found)
        show.result("\n".join(f"{key.name.ljust(width)}  {key.made}" for key in found))
    else:
        show.say("there are no keys: only this machine is served, and asked for none")
    warn(file)


def add(about: About, name: str) -> None:
    """Makes a key and shows it, this once."""
    file = _file(about)
    made = file.add(name)
    if about.as_json:
        show.result_json({"name": name, "key": made})
    else:
        show.result(made)
    show.say("keep it now, it is not shown again; whoever asks the server needs a key from now on")
    warn(file)


def remove(about: About, name: str) -> None:
    """Removes a key."""
    file = _file(about)
    file.remove(name)
    left = len(file.listed())
    if about.as_json:
        show.result_json({"removed": name, "left": left})
    else:
        show.result(f"removed {name}, {left} left")
    if not left:
        show.say(
            "no key is left: on loopback the server asks for none from now on, at any other "
            "address it lets nobody in"
        )
    warn(file)


def warn(file: "KeyFile") -> None:
    """Says what should be mended about the file itself."""
    warning = file.warning()
    if warning:
        show.say(f"warning: {warning}")


def _file(about: About) -> "KeyFile":
    opened = verbs.open_project(about.project)
    from tastemaker.serving.keys import KeyFile  # costs what few verbs need

    return KeyFile(opened.state)
