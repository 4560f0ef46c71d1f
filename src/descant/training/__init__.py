"""Labelled conversations to adapters: one reading each, all adapters in one pass."""

from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import ALL_MODULES, Hyperparameters, load_hyperparameters
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.reader import ReaderTrainer
from descant.training.train import Clocks, Lessons, questions_for, train_one_pass, train_reader

__all__ = [
    "ALL_MODULES",
    "Checkpoint",
    "Clocks",
    "Lessons",
    "ReaderTrainer",
    "OnePassTrainer",
    "Progress",
    "Question",
    "Hyperparameters",
    "load_hyperparameters",
    "questions_for",
    "train_one_pass",
    "train_reader",
]
