"""The feature store: its on-disk format (``FORMAT.md``), and creating, writing, reading and verifying it."""
