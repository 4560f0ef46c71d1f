"""Measures what a quantization costs: perplexity of a text with it, and without it in the same run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from descant.data import hand_written_calls
from descant.engine import Windows, log_loss
from descant.model import load_model
from descant.schema import KvDtype, Quantization
from descant.schema.errors import InvalidData
from descant.text import Tokenizer


@dataclass(frozen=True)
class PerplexityFigures:
    """Perplexities of one text; lower is better."""

    model: str
    quantization: Quantization | None
    kv_dtype: KvDtype
    tokens: int
    """Foretold: all but the first."""
    perplexity: float
    baseline_perplexity: float
    """In bfloat16 throughout."""
    ratio: float
    """perplexity / baseline_perplexity"""
    window_tokens: int
    stride_tokens: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        return asdict(self)


def measure_perplexity(
    model: str,
    text: str,
    quantization: Quantization | None,
    kv_dtype: KvDtype,
    on_progress: Callable[[str], None] = lambda message: None,
) -> PerplexityFigures:
    """Load the model and read the text, first in bfloat16, then as asked.

    Raises:
        InvalidData: the text is shorter than two tokens.
    """
    on_progress(f"loading {model}")
    base = load_model(model)
    ids = Tokenizer.load(base.folder).encode(text)
    if len(ids) < 2:
        raise InvalidData("The text is shorter than two tokens.", field="text")
    window_tokens = min(1024, base.config.max_positions)
    windows = Windows(window_tokens, window_tokens // 2)
    on_progress(f"reading {len(ids)} tokens in bfloat16")
    baseline = math.exp(log_loss(base.model, ids, "model", windows))
    base.model.prepare(quantization)
    on_progress(f"reading them with quantization {quantization}, kv dtype {kv_dtype}")
    perplexity = math.exp(log_loss(base.model, ids, kv_dtype, windows))
    return PerplexityFigures(
        model=model,
        quantization=quantization,
        kv_dtype=kv_dtype,
        tokens=len(ids) - 1,
        perplexity=perplexity,
        baseline_perplexity=baseline,
        ratio=perplexity / baseline,
        window_tokens=windows.window_tokens,
        stride_tokens=windows.stride_tokens,
    )


def sample_text() -> str:
    """Return the written sample calls as one text, a line an utterance."""
    calls = [row.transcript.turns for row in hand_written_calls()]
    return "\n\n".join("\n".join(f"{turn.speaker}: {turn.text}" for turn in call) for call in calls)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        InvalidData: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path}: cannot be read as text: {error}.", field="text") from error
