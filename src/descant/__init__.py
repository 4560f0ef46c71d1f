"""Descant: train, judge and serve dozens of small adapters over one base model."""

__version__ = "0.1.0"
