"""Data sets: each module lists one kind of folder layout as a ``VideoTable``."""
