"""Benchmarks of Tastemaker's claims: `python -m benchmarks --list`."""
