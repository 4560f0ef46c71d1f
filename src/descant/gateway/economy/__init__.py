"""What tokens are spent on, how many a request will use, and prompts with a version."""

from descant.gateway.economy.economy_view import EconomyReport, EconomyView, RouteEconomy
from descant.gateway.economy.max_tokens_advice import MaxTokensAdvice
from descant.gateway.economy.prompt_template import PromptLibrary, PromptTemplate
from descant.gateway.economy.token_estimator import TokenEstimate, TokenEstimator

__all__ = [
    "EconomyReport",
    "EconomyView",
    "MaxTokensAdvice",
    "PromptLibrary",
    "PromptTemplate",
    "RouteEconomy",
    "TokenEstimate",
    "TokenEstimator",
]
