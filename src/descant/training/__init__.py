"""Labelled conversations to adapters: all in one pass over one reading, or one by one through PEFT."""

from descant.training.checkpoint import Checkpoint
from descant.training.hyperparameters import ALL_MODULES, Hyperparameters, load_hyperparameters
from descant.training.lessons import Clocks, Lessons, questions_for
from descant.training.method import METHODS, Method, check_method
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.single import train_single
from descant.training.train import train_one_pass, train_reader

__all__ = [
    "ALL_MODULES",
    "METHODS",
    "Checkpoint",
    "Clocks",
    "Hyperparameters",
    "Lessons",
    "Method",
    "OnePassTrainer",
    "Progress",
    "Question",
    "check_method",
    "load_hyperparameters",
    "questions_for",
    "train_one_pass",
    "train_reader",
    "train_single",
]
