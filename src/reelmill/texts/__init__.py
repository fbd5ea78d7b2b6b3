"""Variations of a text under contract: by a model, or by local rules that need nothing."""

from reelmill.texts.maker import Maker

__all__ = ["Maker"]
