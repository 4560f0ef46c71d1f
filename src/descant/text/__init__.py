"""Text to token ids and back, one renderer for training and serving, and grammars for answers."""

from descant.text.chat_template import PLAIN_TEMPLATE, ChatTemplate
from descant.text.detokenizer import Detokenizer
from descant.text.grammar import Grammar, GrammarCompiler, GrammarLimits
from descant.text.renderer import Renderer
from descant.text.tokenizer import Tokenizer

__all__ = [
    "PLAIN_TEMPLATE",
    "ChatTemplate",
    "Detokenizer",
    "Grammar",
    "GrammarCompiler",
    "GrammarLimits",
    "Renderer",
    "Tokenizer",
]
