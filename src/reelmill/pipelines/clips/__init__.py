"""Cut a video into clips and put a text on each: stages `text → render → publish`."""

from reelmill.pipelines.clips.params import BaseVary, ClipsParams, OneForAll, TextLook, UniqueForAll, VideoParams
from reelmill.pipelines.clips.pipeline import Clips

__all__ = ["BaseVary", "Clips", "ClipsParams", "OneForAll", "TextLook", "UniqueForAll", "VideoParams"]
