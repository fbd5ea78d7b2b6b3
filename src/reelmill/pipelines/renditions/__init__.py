"""One film in several sizes, as MP4 and for adaptive streaming: stages `encode → package → publish`."""

from reelmill.pipelines.renditions.params import RenditionsParams
from reelmill.pipelines.renditions.pipeline import Renditions

__all__ = ["Renditions", "RenditionsParams"]
