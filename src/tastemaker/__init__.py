"""Tastemaker."""
