"""A film out of words: stages `script → voice → scenes → fades → join → publish`."""

from reelmill.pipelines.generate.params import GenerateParams
from reelmill.pipelines.generate.pipeline import Generate

__all__ = ["Generate", "GenerateParams"]
