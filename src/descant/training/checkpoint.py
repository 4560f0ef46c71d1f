"""The state of a run on disk, so that a killed one goes on where it was.

Tensors are safetensors, the rest is JSON; a checkpoint becomes visible whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from descant.model import replaced
from descant.registry import replacing
from descant.schema.errors import CacheCorrupt, InvalidConfig
from descant.training.selection import Selection

_FOLDER = ".checkpoint"


class Checkpoint:
    """One run's saved state inside its output folder."""

    def __init__(self, output: Path, fingerprint: str):
        """`fingerprint` names data, recipe, base and questions: a checkpoint of others is refused."""
        self.folder = output / _FOLDER
        self.fingerprint = fingerprint

    @property
    def exists(self) -> bool:
        """True when there is one to resume from."""
        return self._newest() is not None

    def save(
        self,
        step: int,
        trained: nn.Module,
        optimizer: torch.optim.Optimizer,
        selection: Selection,
    ) -> None:
        """Write the state behind `step` steps, replacing an older one.

        Raises:
            StorageFull: the older checkpoint is intact.
        """
        tensors = dict(trained.state_dict())
        for name, parameter in trained.named_parameters():
            for key, value in optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        tensors |= {f"best.{key}": value for key, value in selection.tensors().items()}
        older = self._newest()
        with replaced(self.folder / f"step-{step:09}") as partial:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, partial / "state.safetensors"
            )
            state = {
                "step": step,
                "fingerprint": self.fingerprint,
                "dev_losses": selection.to_json(),
            }
            (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        if older is not None and older.name != f"step-{step:09}":
            shutil.rmtree(older, ignore_errors=True)

    def load(
        self, trained: nn.Module, optimizer: torch.optim.Optimizer, selection: Selection
    ) -> int:
        """Restore the state and return how many steps were done.

        Raises:
            InvalidConfig: the checkpoint belongs to other data, recipe, base or indicators.
            CacheCorrupt: the checkpoint cannot be read.
        """
        state, tensors = self._read()
        if state.get("fingerprint") != self.fingerprint:
            raise InvalidConfig(
                f"{self.folder} belongs to another run: data, recipe, base or indicators differ.",
                field="resume",
                remedy="Use another output folder, or train again without --resume.",
            )
        best = {k: tensors.pop(k) for k in list(tensors) if k.startswith("best.")}
        selection.load(
            state["dev_losses"], {k.removeprefix("best."): row for k, row in best.items()}
        )
        trained.load_state_dict(
            {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}
        )
        for name, parameter in trained.named_parameters():
            prefix, suffix = "optimizer.", f".{name}"
            # An adapter that has not had a step yet has no state.
            optimizer.state[parameter] = {
                key[len(prefix) : -len(suffix)]: value
                for key, value in tensors.items()
                if key.startswith(prefix) and key.endswith(suffix)
            }
        return int(state["step"])

    def remember(self, name: str, value: Mapping[str, float]) -> None:
        """Keep something that is found out once, before the first step.

        Raises:
            StorageFull: nothing is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{name}.json") as file:
            file.write(json.dumps({"fingerprint": self.fingerprint, "value": value}).encode())

    def recall(self, name: str) -> dict[str, float] | None:
        """Return what this run remembers; None where it remembers nothing.

        Raises:
            CacheCorrupt: it cannot be read.
        """
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            value: dict[str, float] = kept["value"]
            return value if kept["fingerprint"] == self.fingerprint else None
        except (ValueError, KeyError, TypeError) as error:
            raise CacheCorrupt(
                f"{path} cannot be read: {error}.", remedy="Train again without --resume."
            ) from error

    def remove(self) -> None:
        """Delete the checkpoint of a finished run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest(self) -> Path | None:
        return max(self.folder.glob("step-*"), default=None)

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        folder = self._newest()
        if folder is None:
            raise InvalidConfig(
                f"There is nothing to resume in {self.folder.parent}.",
                field="resume",
                remedy="Train without --resume.",
            )
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            return state, load_file(folder / "state.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CacheCorrupt(
                f"{folder} cannot be read: {error}.", remedy="Train again without --resume."
            ) from error
