"""What is in a film: shots, loudness, motion, silence, highlights; stages `quick → deep → report`."""

from reelmill.pipelines.analysis.params import AnalysisParams
from reelmill.pipelines.analysis.pipeline import Analysis
from reelmill.pipelines.analysis.report import AnalysisReport

__all__ = ["Analysis", "AnalysisParams", "AnalysisReport"]
