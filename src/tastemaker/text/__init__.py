"""Encode texts as vectors."""

from tastemaker.text.tfidf import TfidfEncoder, TfidfSettings, smooth_idf

__all__ = ["TfidfEncoder", "TfidfSettings", "smooth_idf"]
