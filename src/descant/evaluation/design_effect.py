"""Shares of answers that come in clusters: as many independent ones as they are worth.

Answers about one conversation, or of one agent's conversations, tend to be right or wrong together. A
share of them varies as if there were fewer, by a factor: the design effect.

Key: ``C`` clusters.
"""

from __future__ import annotations

from dataclasses import replace

from scipy.stats import norm, t

from descant.evaluation.non_inferiority import NonInferiority, proportion_non_inferiority
from descant.evaluation.statistics import Estimate, FloatArray, IntArray


def design_effect(sums: IntArray, totals: IntArray, spread: float) -> float:
    """Return by how much clustering widens the variance of ``sums.sum() / totals.sum()``; 1 or more.

    `sums` and `totals` are ``[C]``; `spread` is the variance of one answer. Where nothing varies
    nothing is known, and every cluster counts as one answer.

    Source:
        Kish, Survey Sampling, 1965, 8.2; the variance of a ratio as Miller, Adding Error Bars to
        Evals, 2024, 2.2; Korn and Graubard, Confidence Intervals for Proportions with Small Expected
        Number of Positive Counts Estimated from Survey Data, 1998, for few clusters.
    """
    clusters, total = int((totals > 0).sum()), int(totals.sum())
    if spread <= 0 or clusters < 2:
        return total / max(clusters, 1)
    gaps: FloatArray = sums - sums.sum() / total * totals
    variance = clusters / (clusters - 1) * float((gaps**2).sum()) / total**2
    # A variance of few clusters is itself uncertain: as much as Student's bounds are wider.
    wider = float(t.ppf(0.975, clusters - 1) / norm.ppf(0.975)) ** 2
    return max(1.0, variance * total / spread) * wider


def clustered_share(rights: IntArray, totals: IntArray, confidence: float = 0.95) -> Estimate:
    """Return the share of right answers with Wilson's interval, ``[C]`` and ``[C]``.

    Source:
        Dean and Pagano, Evaluating Confidence Interval Methods for Binomial Proportions in Clustered
        Surveys, 2015: Wilson's interval of the effective number of answers.
    """
    from statsmodels.stats.proportion import proportion_confint

    total = int(totals.sum())
    share = int(rights.sum()) / total
    effective = total / design_effect(rights, totals, share * (1 - share))
    low, high = proportion_confint(share * effective, effective, 1 - confidence, "wilson")
    return Estimate(share, min(share, float(low)), max(share, float(high)))


def clustered_non_inferiority(
    wins: IntArray, losses: IntArray, totals: IntArray, margin: float, alpha: float = 0.05
) -> NonInferiority:
    """Return Tango's test of paired proportions on the effective number of answers, all ``[C]``.

    Counts move in steps and a score does not, so either bound is taken half an answer further out: a
    gate had better be too careful than not careful enough.
    """
    total = int(totals.sum())
    gain = int((wins - losses).sum()) / total
    discordance = int((wins + losses).sum()) / total
    effect = design_effect(wins - losses, totals, discordance - gain**2)
    won, lost, count = (float(c.sum()) / effect for c in (wins, losses, totals))
    below = proportion_non_inferiority(won, lost + 0.5, count + 0.5, margin, alpha)
    above = proportion_non_inferiority(won + 0.5, lost, count + 0.5, margin, alpha)
    return replace(below, value=gain, high=above.high, worse_p_value=above.worse_p_value)
