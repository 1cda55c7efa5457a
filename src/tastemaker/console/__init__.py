"""The console: renders the start page of a server from plain data.

It depends on neither the server nor the store. The server builds a `View`, sends the result of
`render`, and responds to `/console/assets/NAME` with `asset(NAME)`.
"""

from tastemaker.console.assets import ASSETS, asset
from tastemaker.console.page import render, render_error
from tastemaker.console.view import Card, KnownUser, Shelf, View

__all__ = ["ASSETS", "Card", "KnownUser", "Shelf", "View", "asset", "render", "render_error"]
