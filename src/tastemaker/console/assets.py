"""The files that the page needs, and no others."""

from importlib.resources import files

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

ASSETS = (
    "base.css",
    "console.js",
    "covers.css",
    "funnel.css",
    "htmx.LICENSE.txt",
    "htmx.min.js",
    "icon.svg",
    "layout.css",
    "recommendations.css",
    "shelf.css",
)
"""Every name that is served under `/console/assets/`."""


def asset(name: str) -> tuple[bytes, str] | None:
    """A file's content and media type; None for any name but those of `ASSETS`.

    >>> asset("../page.py") is None
    True
    """
    if name not in ASSETS:
        return None
    content = files("tastemaker.console").joinpath("assets", name).read_bytes()
    return content, MEDIA_TYPES[name[name.rindex(".") :]]
