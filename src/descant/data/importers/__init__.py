"""Conversations in other people's formats: one file a format, and the import that reads any of them."""

from descant.data.importers.csv_file import read_csv
from descant.data.importers.formats import FORMATS, ReadOptions
from descant.data.importers.import_summary import ImportSummary
from descant.data.importers.label_file import read_labels
from descant.data.importers.multidogo import multidogo_indicators, read_multidogo
from descant.data.importers.parquet_file import read_parquet
from descant.data.importers.source_import import ImportSteps, Redact, open_import, unredacted
from descant.data.importers.star import HARD_INDICATORS, read_star, star_indicators
from descant.data.importers.table import TableLayout
from descant.data.importers.taskmaster import read_taskmaster

__all__ = [
    "FORMATS",
    "HARD_INDICATORS",
    "ImportSteps",
    "ImportSummary",
    "ReadOptions",
    "Redact",
    "TableLayout",
    "multidogo_indicators",
    "open_import",
    "read_csv",
    "read_labels",
    "read_multidogo",
    "read_parquet",
    "read_star",
    "read_taskmaster",
    "star_indicators",
    "unredacted",
]
