"""Programs that measure what Tastemaker claims: `python -m benchmarks --list`."""
