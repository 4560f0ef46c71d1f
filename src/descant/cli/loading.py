"""What several commands load before they begin, each step said on standard error.

The engine comes in only where a model is loaded: commands that look at data alone start at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descant.cli.terminal import Terminal
from descant.data import read_jsonl
from descant.registry import find_adapters
from descant.schema import KvDtype, LabelledTranscript, Quantization
from descant.schema.errors import AdapterNotFound, InvalidData

if TYPE_CHECKING:
    from descant.llm import LLM
    from descant.model import LoadedModel
    from descant.text import Renderer


def read_rows(path: Path) -> list[LabelledTranscript]:
    """Read a file of conversations.

    Raises:
        InvalidData: the file cannot be read or has no conversation in it.
    """
    rows = list(read_jsonl(path))
    if not rows:
        raise InvalidData(f"{path}: has no conversation in it.", field="path")
    return rows


@dataclass(frozen=True)
class Base:
    """A base model to train on."""

    name: str
    """As asked for."""
    model: LoadedModel
    renderer: Renderer


def load_base(terminal: Terminal, name: str) -> Base:
    """Load a model to train on, with its tokenizer."""
    from descant.model import load_model
    from descant.text import Renderer, Tokenizer

    terminal.note(f"Loading {name}")
    model = load_model(name)
    return Base(name, model, Renderer(Tokenizer.load(model.folder)))


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
