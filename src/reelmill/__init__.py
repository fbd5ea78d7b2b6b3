"""Reelmill: the self-hosted video job platform."""

__version__ = "0.1.0"
