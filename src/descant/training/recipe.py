"""A recipe: the whole of a training run in one TOML file.

::

    base = "smollm2-135m-instruct"    # a name, or the path of a model folder or .gguf file
    indicators = "indicators"         # folder
    method = "one_pass"
    output = "runs/first/adapters"    # folder
    reader = "runs/first/reader"      # optional: a folder; trained first where there is none yet

    [data]
    train = "calls.jsonl"
    dev_share = 0.1                   # or dev = "dev.jsonl"

    [training]                        # the fields of `Hyperparameters`
    epochs = 3

    [budget]                          # a run estimated above it is not begun
    time_s = 3600
    memory_bytes = 8_000_000_000

Paths are relative to the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from descant.configuration import (
    below_file,
    existing,
    existing_file,
    existing_folder,
    read_toml_record,
)
from descant.model import check_source
from descant.schema.errors import InvalidConfig, ModelNotFound
from descant.training.hyperparameters import Hyperparameters

TrainingMethod = Literal["one_pass", "lora", "dora", "qlora", "alora"]
"""How adapters are trained: all behind one shared reading, or each for itself."""


def _base(source: str, info: ValidationInfo) -> str:
    beside = below_file(Path(source), info)
    chosen = str(beside) if beside.exists() else source
    try:
        kind = check_source(chosen)
    except ModelNotFound as error:
        raise ValueError(str(error)) from error
    return str(existing(Path(source), info)) if kind == "gguf" else chosen


@dataclass(frozen=True)
class DataSources:
    """Where labelled conversations come from.

    Raises:
        InvalidConfig: the dev split is said twice.
    """

    train: Annotated[Path, AfterValidator(existing_file)]
    dev: Annotated[Path, AfterValidator(existing_file)] | None = None
    """Conversations that are judged while training, never learned from."""
    dev_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Without `dev`: the share of `train` set apart for it, chosen by id."""

    def __post_init__(self) -> None:
        if self.dev is not None and self.dev_share > 0:
            raise InvalidConfig(
                "dev_share has no use beside dev.",
                field="dev_share",
                remedy="Keep one of the two.",
            )


@dataclass(frozen=True)
class Budget:
    """What a run may cost; None is no limit."""

    time_s: Annotated[float, Field(gt=0)] | None = None
    memory_bytes: Annotated[int, Field(gt=0)] | None = None

    @property
    def is_limited(self) -> bool:
        """True when there is a limit to keep."""
        return self != Budget()


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run trains, on what, and where it goes."""

    base: Annotated[str, AfterValidator(_base)]
    indicators: Annotated[Path, AfterValidator(existing_folder)]
    output: Annotated[Path, AfterValidator(below_file)]
    data: DataSources
    method: TrainingMethod = "one_pass"
    reader: Annotated[Path, AfterValidator(below_file)] | None = None
    """The folder of a reader; where there is none yet, it is trained first."""
    training: Hyperparameters = Hyperparameters()
    budget: Budget = Budget()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; the error lists every mistake in it with line, key and remedy.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is missing, unknown,
            of the wrong type, out of range, or names a file that is not there.
    """
    return read_toml_record(path, Recipe, "recipe", "Write a first one: descant train init {data}")
