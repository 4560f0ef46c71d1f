"""When a judge may decide about texts, and by how much a candidate may be worse in its eyes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from descant.configuration import below_file, existing_file
from descant.schema.errors import InvalidConfig

Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class JudgePolicy:
    """The judge of indicators whose answer is a text; without an endpoint there is none.

    Raises:
        InvalidConfig: there is a judge and no pairs that people have labelled, or the reverse.
    """

    endpoint: Annotated[Path, AfterValidator(existing_file)] | None = None
    labels: Annotated[Path, AfterValidator(existing_file)] | None = None
    """Pairs that people have labelled, on which it was measured."""
    measurements: Annotated[Path, AfterValidator(below_file)] = Path("runs/judges")
    min_kappa: Share = 0.6
    """The lower bound of its kappa against people must be at least that."""
    min_pairs: Annotated[int, Field(ge=1)] = 50
    margin: Share = 0.1
    """By how much the share of pairs lost may exceed the share won: 0.1 is 45 to 55."""
    max_unjudged: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The most pairs, of all, that it may give no verdict about."""

    def __post_init__(self) -> None:
        for one, other in (("endpoint", "labels"), ("labels", "endpoint")):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise InvalidConfig(f"A judge needs {other} as well as {one}.", field=one)
