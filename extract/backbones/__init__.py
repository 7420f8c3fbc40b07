"""Frozen pre-trained networks that turn a clip into one vector, one family a file."""
