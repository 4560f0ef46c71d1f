"""Ways to set a cascade's thresholds, from the safest to the cheapest, in one line.

A knob is the threshold of one model, or of one model's answers with one label. Each stands on a notch:
0 is never taken, the last is always taken. The notches are the same whatever the data, so that looking
at them tells nothing.

Key: ``N`` conversations, ``S`` models, ``K`` knobs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from descant.evaluation.cascade_records import BoolArray, StageAnswers
from descant.evaluation.statistics import FloatArray, IntArray

# Evenly spaced in the logarithm of the odds: from 0.9999 down to 0.05.
_TOP, _BOTTOM, _NOTCHES = 9.2, -3.0, 60
LEVELS: tuple[float, ...] = (
    math.inf,
    *(
        round(1 / (1 + math.exp(-odds)), 6)
        for odds in np.linspace(_TOP, _BOTTOM, _NOTCHES - 1).tolist()
    ),
    0.0,
)
"""The threshold at each notch."""

_LEAST_STEP = 0.01
"""A step along a path takes at least this share of the conversations in."""


class Knob(NamedTuple):
    """One threshold."""

    stage: int
    label: str | None
    """None: whatever the label."""


class Outcomes(NamedTuple):
    """What a cascade would have done: ``[N]`` each."""

    stage: IntArray
    wrong: BoolArray
    cost: FloatArray


@dataclass(frozen=True)
class Knobs:
    """All thresholds of a cascade."""

    knobs: tuple[Knob, ...]

    def turned_by(self, answers: StageAnswers) -> IntArray:
        """Return which knob each answer is under, ``[N, S - 1]``; -1 where none is."""
        numbers = {knob: number for number, knob in enumerate(self.knobs)}
        stages = range(len(answers.models) - 1)
        return np.array(
            [
                [numbers.get(Knob(s, row[s]), numbers.get(Knob(s, None), -1)) for s in stages]
                for row in answers.labels
            ]
        ).reshape(len(answers.labels), len(stages))


def knobs_of(answers: StageAnswers, *, by_label: bool) -> Knobs:
    """Return one knob for each model but the last, or for each label that it ever gave."""
    stages = range(len(answers.models) - 1)
    if not by_label:
        return Knobs(tuple(Knob(stage, None) for stage in stages))
    return Knobs(
        tuple(
            Knob(stage, label)
            for stage in stages
            for label in sorted({row[stage] or "" for row in answers.labels} - {""})
        )
    )


def outcomes(answers: StageAnswers, under: IntArray, notches: Sequence[int]) -> Outcomes:
    """Return what a cascade would have done with its knobs on these notches."""
    # One more level for answers under no knob: never taken.
    levels = np.array([*(LEVELS[notch] for notch in notches), math.inf])
    taken = answers.sure[:, :-1] >= levels[under]
    last = np.ones((len(taken), 1), dtype=bool)
    stage = np.argmax(np.hstack([taken, last]), axis=1)
    rows = np.arange(len(stage))
    return Outcomes(stage, ~answers.right[rows, stage], answers.cost[rows, stage])


def straight_path() -> list[tuple[int, ...]]:
    """Return the only path of a single knob: notch by notch."""
    return [(notch,) for notch in range(len(LEVELS))]


def learned_path(answers: StageAnswers, knobs: Knobs) -> list[tuple[int, ...]]:
    """Return the notches of all knobs, step by step from never to always.

    Each step turns the knob that saves most for each error it brings, on these conversations; which
    therefore must not be those that the path is tested on.
    """
    under = knobs.turned_by(answers)
    notches = (0,) * len(knobs.knobs)
    path, here = [notches], outcomes(answers, under, notches)
    while any(notch < len(LEVELS) - 1 for notch in notches):
        steps = [
            _turned(answers, under, notches, knob)
            for knob in range(len(notches))
            if notches[knob] < len(LEVELS) - 1
        ]
        ways = [(step, outcomes(answers, under, step)) for step in steps]
        notches, here = max(ways, key=lambda way: _worth(here, way[1]))
        path.append(notches)
    return path


def _turned(
    answers: StageAnswers, under: IntArray, notches: tuple[int, ...], knob: int
) -> tuple[int, ...]:
    """Return the notches with one knob turned until it takes in enough more answers."""
    sure = answers.sure[:, :-1][under == knob]
    taken_here = int((sure >= LEVELS[notches[knob]]).sum())
    enough = taken_here + max(1, math.ceil(_LEAST_STEP * len(under)))
    last = len(LEVELS) - 1
    beyond = range(notches[knob] + 1, last)
    found = next((n for n in beyond if int((sure >= LEVELS[n]).sum()) >= enough), last)
    return (*notches[:knob], found, *notches[knob + 1 :])


def _worth(here: Outcomes, there: Outcomes) -> float:
    """Return the money that a step saves for each error it brings."""
    saved = float(here.cost.sum() - there.cost.sum())
    errors = int(there.wrong.sum()) - int(here.wrong.sum())
    # Half an error more for all: a step without one would be worth the same however little it saves.
    return saved / (errors + 0.5) if errors >= 0 else saved * (1 - errors) * 2
