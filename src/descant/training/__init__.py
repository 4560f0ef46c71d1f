"""Labelled conversations to adapters: all in one pass over one reading, or one by one through PEFT."""

from descant.training.checkpoint import Checkpoint
from descant.training.estimate import MemoryEstimate, RunEstimate, check_budget, estimate_run
from descant.training.first_recipe import FirstRecipe
from descant.training.hyperparameters import ALL_MODULES, Hyperparameters
from descant.training.job import Job, Trainer, trainer_for
from descant.training.lessons import Clocks, Lessons, questions_for
from descant.training.method import METHODS, Method, check_method
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.recipe import Budget, DataSources, Recipe, TrainingMethod, load_recipe
from descant.training.rehearsal import Rehearsal
from descant.training.single import train_single
from descant.training.train import train_one_pass, train_reader
from descant.training.workload import Workload

__all__ = [
    "ALL_MODULES",
    "METHODS",
    "Budget",
    "Checkpoint",
    "Clocks",
    "DataSources",
    "FirstRecipe",
    "Hyperparameters",
    "Job",
    "Lessons",
    "MemoryEstimate",
    "Method",
    "OnePassTrainer",
    "Progress",
    "Question",
    "Recipe",
    "Rehearsal",
    "RunEstimate",
    "Trainer",
    "TrainingMethod",
    "Workload",
    "check_budget",
    "check_method",
    "estimate_run",
    "load_recipe",
    "questions_for",
    "train_one_pass",
    "train_reader",
    "train_single",
    "trainer_for",
]
