"""The static files of the page."""

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
"""The names that are served under `/console/assets/`."""


def asset(name: str) -> tuple[bytes, str] | None:
    """Returns the content and media type of a file; None for a name that is not in `ASSETS`.

    >>> asset("../page.py") is None
    True
    """
    if name not in ASSETS:
        return None
    content = files("tastemaker.console").joinpath("assets", name).read_bytes()
    return content, MEDIA_TYPES[name[name.rindex(".") :]]
