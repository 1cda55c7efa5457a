"""The console: the page that people see first. Plain data in, text out.

It knows neither the server nor the store. The server builds a `View`, sends what `render`
returns, and answers `/console/assets/NAME` with `asset(NAME)`.
"""

from tastemaker.console.assets import ASSETS, asset
from tastemaker.console.page import render, render_error
from tastemaker.console.view import Card, KnownUser, Shelf, View

__all__ = ["ASSETS", "Card", "KnownUser", "Shelf", "View", "asset", "render", "render_error"]
