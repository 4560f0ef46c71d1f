"""Labelled conversations: read, checked, split and turned into examples; no tensors."""

from descant.data.csv_import import read_csv
from descant.data.examples import Example, TranscriptRenderer, build_examples, data_hash
from descant.data.leakage import check_leakage
from descant.data.samples import generate_calls, hand_written_calls, sample_indicators
from descant.data.splits import Fractions, Split, split_of, split_rows
from descant.data.star import HARD_INDICATORS, read_star, star_indicators
from descant.data.transcripts import (
    build_transcript,
    clean_text,
    parse_row,
    read_jsonl,
    validate_labels,
    write_jsonl,
)

__all__ = [
    "HARD_INDICATORS",
    "Example",
    "Fractions",
    "Split",
    "TranscriptRenderer",
    "build_examples",
    "build_transcript",
    "check_leakage",
    "clean_text",
    "data_hash",
    "generate_calls",
    "hand_written_calls",
    "parse_row",
    "read_csv",
    "read_jsonl",
    "read_star",
    "sample_indicators",
    "split_of",
    "split_rows",
    "star_indicators",
    "validate_labels",
    "write_jsonl",
]
