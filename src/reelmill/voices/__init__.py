"""Voices that speak narrations: in processes of this machine, or at a server."""

from reelmill.voices.narrator import Narrating

__all__ = ["Narrating"]
