"""Labelled conversations: read, checked, split and turned into examples; no tensors."""

from descant.data.csv_import import read_csv
from descant.data.examples import Example, TranscriptRenderer, build_examples, data_hash
from descant.data.indicator_drafts import Drafts, draft_indicators
from descant.data.label_counts import (
    LabelCounts,
    check_learnable,
    count_labels,
    label_names,
    unlabelled_ids,
)
from descant.data.leakage import check_leakage
from descant.data.samples import generate_calls, hand_written_calls, sample_indicators
from descant.data.spelling import did_you_mean
from descant.data.splits import Fractions, Split, split_of, split_rows
from descant.data.star import HARD_INDICATORS, read_star, star_indicators
from descant.data.survey import Finding, survey
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
    "Drafts",
    "Example",
    "Finding",
    "Fractions",
    "LabelCounts",
    "Split",
    "TranscriptRenderer",
    "build_examples",
    "build_transcript",
    "check_leakage",
    "check_learnable",
    "clean_text",
    "count_labels",
    "data_hash",
    "did_you_mean",
    "draft_indicators",
    "generate_calls",
    "hand_written_calls",
    "label_names",
    "parse_row",
    "read_csv",
    "read_jsonl",
    "read_star",
    "sample_indicators",
    "split_of",
    "split_rows",
    "star_indicators",
    "survey",
    "unlabelled_ids",
    "validate_labels",
    "write_jsonl",
]
