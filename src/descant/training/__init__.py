"""Labelled conversations to adapters: one reading each, all adapters in one pass."""

from descant.training.checkpoint import Checkpoint
from descant.training.estimate import MemoryEstimate, RunEstimate, check_budget, estimate_run
from descant.training.first_recipe import FirstRecipe
from descant.training.hyperparameters import ALL_MODULES, Hyperparameters
from descant.training.job import TRAINERS, Job, Trainer, trainer_for
from descant.training.objective import Question
from descant.training.one_pass import OnePassTrainer, Progress
from descant.training.recipe import Budget, DataSources, Recipe, TrainingMethod, load_recipe
from descant.training.rehearsal import Rehearsal
from descant.training.train import Clocks, questions_for, train_one_pass
from descant.training.workload import Workload

__all__ = [
    "ALL_MODULES",
    "TRAINERS",
    "Budget",
    "Checkpoint",
    "Clocks",
    "DataSources",
    "FirstRecipe",
    "Hyperparameters",
    "Job",
    "MemoryEstimate",
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
    "estimate_run",
    "load_recipe",
    "questions_for",
    "train_one_pass",
    "trainer_for",
]
