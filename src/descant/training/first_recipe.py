"""A recipe to begin with: what must be said is said, every other number stands there to be changed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from descant.training.hyperparameters import Hyperparameters
from descant.training.recipe import Recipe


@dataclass(frozen=True)
class FirstRecipe:
    """What a first recipe says; paths as seen from where the command runs."""

    base: str
    indicators: Path
    output: Path
    train: Path
    dev_share: float

    def to_toml(self, folder: Path) -> str:
        """Return the text of the file for this folder; paths in it are relative to that."""
        sections = (
            "# A training run. Check it: descant train <this file> --dry-run",
            "# Paths are relative to this file.",
            "",
            f"base = {_value(self._base(folder))}",
            f"indicators = {_value(_relative(self.indicators, folder))}",
            f"method = {_value(Recipe.method)}",
            f"output = {_value(_relative(self.output, folder))}",
            "",
            "[data]",
            f"train = {_value(_relative(self.train, folder))}",
            "# Set apart by id to see how well it goes, never learned from; a file of its own is",
            '# dev = "dev.jsonl" instead.',
            f"dev_share = {_value(self.dev_share)}",
            "",
            "[training]",
            "# These are what is used when nothing is said; take a # off and change what follows.",
            *_defaults(),
            "",
            "# A run that is estimated above this is refused before it begins.",
            "# [budget]",
            "# time_s = 3600",
            "# memory_bytes = 8_000_000_000",
        )
        return "\n".join(sections) + "\n"

    def _base(self, folder: Path) -> str:
        return _relative(Path(self.base), folder) if Path(self.base).exists() else self.base


def _defaults() -> list[str]:
    return [
        f"# {name} = {_value(value)}"
        for name, value in Hyperparameters().to_json().items()
        if value is not None
    ]


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _value(value: object) -> str:
    # Texts, numbers, truths and lists of them are written alike in JSON and TOML.
    return json.dumps(value, ensure_ascii=False)
