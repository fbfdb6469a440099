"""The index: segments, their store, exact search, filters and updates."""
