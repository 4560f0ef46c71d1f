"""What several commands load before they begin, each step said on standard error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from descant.cli.terminal import Terminal
from descant.data import read_jsonl
from descant.registry import find_adapters
from descant.schema import KvDtype, LabelledTranscript, Quantization
from descant.schema.errors import AdapterNotFound, InvalidData

if TYPE_CHECKING:
    from descant.llm import LLM


def read_rows(path: Path) -> list[LabelledTranscript]:
    """Read a file of conversations.

    Raises:
        InvalidData: the file cannot be read or has no conversation in it.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise InvalidData(f"{path}: has no conversation in it.", field="path")
    return rows


def load_llm(
    terminal: Terminal,
    model: str,
    adapters: Path,
    quantization: Quantization | None = None,
    kv_dtype: KvDtype = "model",
) -> LLM:
    """Load a model with a folder of adapters.

    Raises:
        AdapterNotFound: there is no adapter in that folder.
    """
    from descant.engine import EngineConfig
    from descant.llm import LLM

    found = find_adapters(adapters)
    if not found:
        raise AdapterNotFound(
            f"There are no adapters in {adapters}.",
            field="adapters",
            remedy="Make some with descant demo or descant train, or name their folder "
            "with --adapters.",
        )
    terminal.note(f"Loading {model}; {len(found)} adapters in {adapters}")
    engine = EngineConfig(kv_dtype=kv_dtype)
    return LLM(model, adapters=adapters, quantization=quantization, engine=engine)
