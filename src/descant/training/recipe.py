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

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from descant.data import did_you_mean
from descant.model import check_source
from descant.schema.errors import InvalidConfig, ModelNotFound, join_errors
from descant.training.hyperparameters import Hyperparameters
from descant.training.toml_lines import key_lines
from descant.training.toml_record import RecordReader

TrainingMethod = Literal["one_pass", "lora", "dora", "qlora", "alora"]
"""How adapters are trained: all behind one shared reading, or each for itself."""


def _below_recipe(path: Path, info: ValidationInfo) -> Path:
    assert info.context is not None, "read by RecordReader"
    folder: Path = info.context["folder"]
    return folder / path


def _existing(path: Path, info: ValidationInfo) -> Path:
    path = _below_recipe(path, info)
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")]
        raise ValueError(f"{path} does not exist. {did_you_mean(path.name, beside)}".rstrip())
    return path


def _file(path: Path, info: ValidationInfo) -> Path:
    path = _existing(path, info)
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    return path


def _folder(path: Path, info: ValidationInfo) -> Path:
    path = _existing(path, info)
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder.")
    return path


def _base(source: str, info: ValidationInfo) -> str:
    beside = _below_recipe(Path(source), info)
    chosen = str(beside) if beside.exists() else source
    try:
        kind = check_source(chosen)
    except ModelNotFound as error:
        raise ValueError(str(error)) from error
    return str(_existing(Path(source), info)) if kind == "gguf" else chosen


@dataclass(frozen=True)
class DataSources:
    """Where labelled conversations come from.

    Raises:
        InvalidConfig: the dev split is said twice.
    """

    train: Annotated[Path, AfterValidator(_file)]
    dev: Annotated[Path, AfterValidator(_file)] | None = None
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
    indicators: Annotated[Path, AfterValidator(_folder)]
    output: Annotated[Path, AfterValidator(_below_recipe)]
    data: DataSources
    method: TrainingMethod = "one_pass"
    reader: Annotated[Path, AfterValidator(_below_recipe)] | None = None
    """The folder of a reader; where there is none yet, it is trained first."""
    training: Hyperparameters = Hyperparameters()
    budget: Budget = Budget()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; the error lists every mistake in it with line, key and remedy.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is missing, unknown,
            of the wrong type, out of range, or names a file that is not there.
    """
    text = _read(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, str(error)) from error
    reader = RecordReader(str(path), key_lines(text), {"folder": path.parent})
    recipe = reader.read(Recipe, table)
    if reader.mistakes or recipe is None:
        raise join_errors(reader.mistakes)
    return recipe


def _read(path: Path) -> str:
    try:
        # Some editors begin a file with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidConfig(
            f"{path}: cannot be read: {error.strerror}.",
            field="recipe",
            remedy="Write a first one: descant train init DATA.jsonl",
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path}: is not UTF-8.", field="recipe") from error


def _not_toml(path: Path, reason: str) -> InvalidConfig:
    place = re.search(r" \(at line (\d+), column \d+\)", reason)
    origin = f"{path}:{place[1]}" if place else str(path)
    remedy = None
    if path.suffix in (".jsonl", ".csv", ".json", ".gz"):
        remedy = f"A recipe is a TOML file; write a first one: descant train init {path}"
    reason = reason.replace(place[0], "") if place else reason
    return InvalidConfig(f"{origin}: not TOML: {reason}.", field="recipe", remedy=remedy)
