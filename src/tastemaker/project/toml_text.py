"""Writes values as TOML."""

import json
from collections.abc import Iterable


def toml_text(text: str) -> str:
    """A basic string. TOML uses the escapes of JSON, and also escapes DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(name: str) -> str:
    """A key, in quotation marks if it needs them."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else toml_text(name)


def toml_list(values: Iterable[str]) -> str:
    """A list of strings."""
    return f"[{', '.join(map(toml_text, values))}]"


def toml_table(values: dict[str, str]) -> str:
    """An inline table of strings."""
    inner = ", ".join(f"{toml_key(key)} = {toml_text(value)}" for key, value in values.items())
    return f"{{ {inner} }}"


def comment_text(text: str) -> str:
    """Text for a comment, as one line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
