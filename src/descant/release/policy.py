"""The rule of a release in one TOML file.

::

    [task]
    name = "Calls of March"
    data = "march.jsonl"              # labelled conversations that nobody learned from
    indicators = "indicators"         # folder
    protected = "never_break.jsonl"   # optional: {"id", "indicator", "expected"} a line
    drawn = "every 20th call of March, labelled by two people"

    [release]                         # the fields of `ReleasePolicy`
    margin = 0.02

    [slices]
    fields = ["agent", "language"]    # of the conversations' own fields
    length_parts = 3
    time = "month"                    # or weekday, hour; of the field `time`
    cluster = "agent"                 # conversations of one agent are drawn together

    [limits]
    conversation_s = 1.0              # the candidate's, one at a time on this machine
    money_per_1000 = 0.5

    [prices]                          # in your money
    machine_per_hour = 0.12
    rival_per_1000 = 4.0

    [judge]                           # of indicators whose answer is a text; may be left out
    endpoint = "judge.toml"           # a chat model, see `EndpointPlan`
    labels = "labelled_pairs.jsonl"   # on which it was measured (descant judge)
    min_kappa = 0.6

Paths are relative to the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from descant.configuration import existing_file, existing_folder, read_toml_record
from descant.evaluation import Period, ReleasePolicy
from descant.release.judge_policy import JudgePolicy
from descant.release.limits import Limits

NonNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class GateTask:
    """What candidate and champion are judged on."""

    name: str
    data: Annotated[Path, AfterValidator(existing_file)]
    indicators: Annotated[Path, AfterValidator(existing_folder)]
    protected: Annotated[Path, AfterValidator(existing_file)] | None = None
    drawn: str = ""
    """How the conversations were chosen, for people who read the page."""


@dataclass(frozen=True)
class SlicePlan:
    """Which parts of the conversations are looked at by themselves."""

    fields: tuple[str, ...] = ()
    length_parts: Annotated[int, Field(ge=1)] = 3
    time: Period | None = None
    cluster: str | None = None
    """A field whose value conversations share that are not independent of each other."""


@dataclass(frozen=True)
class Prices:
    """What things cost, in one currency; None is not known."""

    machine_per_hour: NonNegative | None = None
    champion_per_1000: NonNegative | None = None
    """Conversations, where the champion does not run on this machine."""
    rival_per_1000: NonNegative | None = None
    currency: str = ""


@dataclass(frozen=True)
class GatePolicy:
    """Everything that decides whether a candidate is released."""

    task: GateTask
    release: ReleasePolicy = ReleasePolicy()
    slices: SlicePlan = SlicePlan()
    limits: Limits = Limits()
    prices: Prices = Prices()
    judge: JudgePolicy = JudgePolicy()


def load_policy(path: Path) -> GatePolicy:
    """Read a policy; the error lists every mistake in it with line, key and remedy.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is missing, unknown,
            of the wrong type, out of range, or names a file that is not there.
    """
    return read_toml_record(path, GatePolicy, "policy", "docs/gate.md has one to begin with.")
