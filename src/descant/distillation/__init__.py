"""A teacher's answers become labels: asked within a budget, kept, and never guessed; no tensors."""

from descant.distillation.answer_store import AnswerStore
from descant.distillation.asker import Asker, Patience
from descant.distillation.budget import Budget, Cost, Limits, Prices
from descant.distillation.chat_teacher import ChatConfig, ChatTeacher
from descant.distillation.cooldown import Cooldown
from descant.distillation.endpoint import Endpoint
from descant.distillation.labelling import Asked, Effort, Labelling
from descant.distillation.score_teacher import ScoreTeacher
from descant.distillation.teacher import Ask, Opinion, Teacher
from descant.distillation.votes import Verdict, with_verdicts

__all__ = [
    "AnswerStore",
    "Ask",
    "Asked",
    "Asker",
    "Budget",
    "ChatConfig",
    "ChatTeacher",
    "Cooldown",
    "Cost",
    "Effort",
    "Endpoint",
    "Labelling",
    "Limits",
    "Opinion",
    "Patience",
    "Prices",
    "ScoreTeacher",
    "Teacher",
    "Verdict",
    "with_verdicts",
]
