"""Answers over HTTP: recommendations, events, items, health, and the console's page."""

from tastemaker.serving.app import create_app
from tastemaker.serving.asked import Asked
from tastemaker.serving.live import Live
from tastemaker.serving.run import run
from tastemaker.serving.service import Service

__all__ = ["Asked", "Live", "Service", "create_app", "run"]
