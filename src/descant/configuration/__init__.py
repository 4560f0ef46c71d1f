"""A file of settings as a frozen dataclass: every mistake in it with line, key and remedy."""

from descant.configuration.file import read_toml_record
from descant.configuration.paths import below_file, existing, existing_file, existing_folder
from descant.configuration.spelling import did_you_mean

__all__ = [
    "read_toml_record",
    "below_file",
    "existing",
    "existing_file",
    "existing_folder",
    "did_you_mean",
]
