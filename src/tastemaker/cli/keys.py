"""`keys`: lists, adds and removes API keys."""

from typing import TYPE_CHECKING

from tastemaker.cli import show, verbs
from tastemaker.cli.versions import Options

if TYPE_CHECKING:
    from tastemaker.serving.keys import KeyFile


def keys(options: Options) -> None:
    """Lists all keys by name; the keys themselves are not stored."""
    file = _file(options)
    found = file.listed()
    if options.as_json:
        show.result_json({"keys": [{"name": key.name, "made": key.made} for key in found]})
    elif found:
        width = max(len(key.name) for key in found)
        show.result("\n".join(f"{key.name.ljust(width)}  {key.made}" for key in found))
    else:
        show.say("there are no keys: the server accepts only this machine, without a key")
    warn(file)


def add(options: Options, name: str) -> None:
    """Creates a key and prints it once."""
    file = _file(options)
    key = file.add(name)
    if options.as_json:
        show.result_json({"name": name, "key": key})
    else:
        show.result(key)
    show.say("save it now, it is not shown again; from now on, clients must send a key")
    warn(file)


def remove(options: Options, name: str) -> None:
    """Removes a key."""
    file = _file(options)
    file.remove(name)
    left = len(file.listed())
    if options.as_json:
        show.result_json({"removed": name, "left": left})
    else:
        show.result(f"removed {name}, {left} left")
    if not left:
        show.say(
            "no key is left: on loopback, clients need no key from now on; on any other address, "
            "the server rejects all requests"
        )
    warn(file)


def warn(file: "KeyFile") -> None:
    """Prints a warning about the key file, if there is one."""
    warning = file.warning()
    if warning:
        show.say(f"warning: {warning}")


def _file(options: Options) -> "KeyFile":
    opened = verbs.open_project(options.project)
    from tastemaker.serving.keys import KeyFile  # slow to import, and few commands need it

    return KeyFile(opened.state)
