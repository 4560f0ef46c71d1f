"""The command line: one file for each group of commands, nothing but composition."""

from descant.cli.app import main

__all__ = ["main"]
