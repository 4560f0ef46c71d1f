"""A teacher's answers become labels: asked within a budget, kept, and never guessed; no tensors."""

from descant.distillation.answer_store import AnswerStore, Kept, Received
from descant.distillation.asker import Asker, Patience
from descant.distillation.budget import Budget, Cost, Limits, Prices
from descant.distillation.chat_teacher import ChatConfig, ChatTeacher
from descant.distillation.cooldown import Cooldown
from descant.distillation.endpoint import Endpoint, NoReply
from descant.distillation.labelling import Asked, Effort, Labelling, Question
from descant.distillation.prompt import chat_of, conversation_lines, one_line
from descant.distillation.score_teacher import ScorecardTeacher, ScoreTeacher
from descant.distillation.source import Answered, Source, SourceRun, ask_source
from descant.distillation.teacher import Ask, Nonsense, Opinion, Teacher
from descant.distillation.teacher import count as token_count
from descant.distillation.votes import Verdict, with_verdicts

__all__ = [
    "AnswerStore",
    "Answered",
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
    "Kept",
    "Labelling",
    "Limits",
    "NoReply",
    "Nonsense",
    "Opinion",
    "Patience",
    "Prices",
    "Question",
    "Received",
    "ScoreTeacher",
    "ScorecardTeacher",
    "Source",
    "SourceRun",
    "Teacher",
    "Verdict",
    "ask_source",
    "chat_of",
    "conversation_lines",
    "one_line",
    "token_count",
    "with_verdicts",
]
