"""Reading, cleaning and indexing of events, items and users."""
