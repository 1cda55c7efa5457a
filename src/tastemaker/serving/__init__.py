"""The HTTP server: recommendations, events, items, health checks and the console."""

from tastemaker.serving.app import create_app
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.run import run
from tastemaker.serving.service import Service

__all__ = ["ModelSnapshot", "RecommendationRequest", "Service", "create_app", "run"]
