"""Labelled conversations: read, checked, split and turned into examples; no tensors."""

from descant.data.conflicts import Conflict, find_conflicts
from descant.data.examples import (
    Example,
    TranscriptRenderer,
    answer_lists,
    build_examples,
    data_hash,
)
from descant.data.importers import (
    FORMATS,
    HARD_INDICATORS,
    ImportSteps,
    ImportSummary,
    ReadOptions,
    Redact,
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
    unredacted,
)
from descant.data.indicator_drafts import Drafts, draft_indicators
from descant.data.inspection import Inspection, Lengths, inspect_rows
from descant.data.json_lines import read_objects
from descant.data.label_balance import (
    LabelBalance,
    check_learnable,
    count_labels,
    label_names,
    unlabelled_ids,
)
from descant.data.leak_words import LeakWord, LeakWordConfig, find_leak_words
from descant.data.leakage import check_leakage
from descant.data.near_duplicates import (
    DuplicateGroup,
    NearDuplicateConfig,
    find_near_duplicates,
)
from descant.data.redaction import (
    REDACTION_KINDS,
    PresidioConfig,
    PresidioFinder,
    Redacted,
    RedactionConfig,
    RedactionReport,
    Redactor,
    redact_rows,
)
from descant.data.samples import generate_calls, hand_written_calls, sample_indicators
from descant.data.spelling import did_you_mean
from descant.data.splits import Fractions, Split, split_of, split_rows
from descant.data.survey import Finding, named, survey
from descant.data.toml_file import read_toml_record
from descant.data.toml_paths import below_file, existing, existing_file, existing_folder
from descant.data.transcripts import (
    build_transcript,
    clean_text,
    parse_row,
    read_jsonl,
    validate_labels,
    write_jsonl,
)

__all__ = [
    "below_file",
    "existing",
    "existing_file",
    "existing_folder",
    "read_objects",
    "read_toml_record",
    "FORMATS",
    "HARD_INDICATORS",
    "REDACTION_KINDS",
    "Conflict",
    "Drafts",
    "DuplicateGroup",
    "Example",
    "Finding",
    "Fractions",
    "Inspection",
    "LabelBalance",
    "LeakWord",
    "LeakWordConfig",
    "Lengths",
    "NearDuplicateConfig",
    "PresidioConfig",
    "PresidioFinder",
    "Redacted",
    "RedactionConfig",
    "RedactionReport",
    "ImportSteps",
    "ImportSummary",
    "ReadOptions",
    "Redact",
    "Redactor",
    "Split",
    "TableLayout",
    "TranscriptRenderer",
    "answer_lists",
    "build_examples",
    "build_transcript",
    "check_leakage",
    "check_learnable",
    "clean_text",
    "count_labels",
    "data_hash",
    "did_you_mean",
    "draft_indicators",
    "find_conflicts",
    "find_leak_words",
    "find_near_duplicates",
    "generate_calls",
    "hand_written_calls",
    "inspect_rows",
    "multidogo_indicators",
    "open_import",
    "label_names",
    "named",
    "parse_row",
    "read_csv",
    "read_jsonl",
    "read_labels",
    "read_multidogo",
    "read_parquet",
    "read_star",
    "redact_rows",
    "read_taskmaster",
    "sample_indicators",
    "split_of",
    "split_rows",
    "star_indicators",
    "unredacted",
    "survey",
    "unlabelled_ids",
    "validate_labels",
    "write_jsonl",
]
