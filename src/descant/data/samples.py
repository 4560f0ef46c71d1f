"""The sample calls of the package: indicators, a grammar to train on, written calls to test on."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files

from descant.data.scenario import generate_calls
from descant.data.transcripts import parse_row
from descant.schema import Indicator, LabelledTranscript, parse_indicator

__all__ = ["generate_calls", "hand_written_calls", "sample_indicators"]


def sample_indicators() -> tuple[Indicator, ...]:
    """Return the twelve sample indicators, sorted by file name."""
    folder = files("descant.data") / "sample_calls" / "indicators"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return tuple(
        parse_indicator(tomllib.loads(entry.read_text(encoding="utf-8")), entry.name)
        for entry in entries
        if entry.name.endswith(".toml")
    )


def hand_written_calls() -> list[LabelledTranscript]:
    """Return the calls written by hand, for testing only."""
    name = "hand_written.jsonl"
    text = (files("descant.data") / "sample_calls" / name).read_text(encoding="utf-8")
    return [
        parse_row(json.loads(line), f"{name}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
