"""Labelled conversations: read, checked, split and turned into examples; no tensors."""

from descant.data.examples import Example, TranscriptRenderer, build_examples, data_hash
from descant.data.importers import (
    FORMATS,
    HARD_INDICATORS,
    ImportSteps,
    ImportSummary,
    ReadOptions,
    Redactor,
    TableLayout,
    multidogo_indicators,
    open_import,
    read_csv,
    read_labels,
    read_multidogo,
    read_parquet,
    read_star,
    read_taskmaster,
    star_indicators,
)
from descant.data.leakage import check_leakage
from descant.data.samples import generate_calls, hand_written_calls, sample_indicators
from descant.data.splits import Fractions, Split, split_of, split_rows
from descant.data.transcripts import (
    build_transcript,
    clean_text,
    parse_row,
    read_jsonl,
    validate_labels,
    write_jsonl,
)

__all__ = [
    "FORMATS",
    "HARD_INDICATORS",
    "Example",
    "Fractions",
    "ImportSteps",
    "ImportSummary",
    "ReadOptions",
    "Redactor",
    "Split",
    "TableLayout",
    "TranscriptRenderer",
    "build_examples",
    "build_transcript",
    "check_leakage",
    "clean_text",
    "data_hash",
    "generate_calls",
    "hand_written_calls",
    "multidogo_indicators",
    "open_import",
    "parse_row",
    "read_csv",
    "read_jsonl",
    "read_labels",
    "read_multidogo",
    "read_parquet",
    "read_star",
    "read_taskmaster",
    "sample_indicators",
    "split_of",
    "split_rows",
    "star_indicators",
    "validate_labels",
    "write_jsonl",
]
