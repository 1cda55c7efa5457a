"""The data side: reading, cleaning and indexing events, items and users."""
