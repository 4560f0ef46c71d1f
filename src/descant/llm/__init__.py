"""The Python API: text in, scorecards or text out."""

from descant.llm.llm import LLM, Generation, Indicators
from descant.llm.score_plan import ScorePlan, Written, to_scorecard

__all__ = ["LLM", "Generation", "Indicators", "ScorePlan", "Written", "to_scorecard"]
