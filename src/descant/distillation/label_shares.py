"""Which share of an answer's probability each label has, out of the log-probabilities of its tokens.

The first token at which labels part shares its probability out between them: each alternative counts
for the label it begins or ends, in any case. Where several labels begin alike, the next token parts
those, as far as the answer itself went that way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from descant.distillation.answer_text import AROUND
from descant.distillation.teacher import Nonsense

_JSON_OPENING = re.compile(rb'\s*\{\s*"label"\s*:\s*"')
# With less than that on labels at all, or more than that on what may be one or another, the shares
# would be a guess.
_MIN_TOLD = 0.1
_MAX_UNCLEAR = 0.05
_ROUNDING = 1e-3


def read_probabilities(tokens: Any, labels: Sequence[str]) -> dict[str, float]:
    """Return a probability for each label from a chat's ``logprobs.content``, summing to 1.

    What belongs to no label is left out of the sum.

    Raises:
        Nonsense: there are none, or they do not tell the labels apart.
    """
    steps = _steps(tokens)
    spelling = _Spelling.of(b"".join(said for said, _ in steps), labels)
    shares, unclear = _share_out(steps, spelling)
    told = math.fsum(shares.values())
    if told < _MIN_TOLD or unclear > _MAX_UNCLEAR * (told + unclear):
        raise Nonsense(
            f"its log-probabilities do not tell the labels apart: {told:.0%} is on one each, "
            f"{unclear:.0%} on several alike"
        )
    return {label: share / told for label, share in shares.items()}


_Step = tuple[bytes, dict[bytes, float]]
"""A token that was said, and the probability of it and of its alternatives."""


@dataclass(frozen=True)
class _Spelling:
    """How labels look in an answer: bare, or each with the quote that ends it behind an opening."""

    opening: bytes
    labels: Mapping[str, bytes]

    @classmethod
    def of(cls, answer: bytes, labels: Sequence[str]) -> Self:
        opening = _JSON_OPENING.match(answer)
        if opening is None:
            return cls(b"", {label: label.encode().lower() for label in labels})
        quoted = {label: json.dumps(label, ensure_ascii=False)[1:] for label in labels}
        return cls(opening[0], {label: text.encode().lower() for label, text in quoted.items()})

    def meant(self, text: bytes, among: Sequence[str]) -> list[str]:
        """Return the labels that an answer beginning like this may be."""
        if not text.startswith(self.opening):
            return []
        said = text.removeprefix(self.opening).lstrip(AROUND.encode()).lower()
        return [label for label in among if _agree(said, self.labels[label])]


def _share_out(steps: Sequence[_Step], spelling: _Spelling) -> tuple[dict[str, float], float]:
    """Return the share of each label, and what may be one or another."""
    shares, unclear = dict.fromkeys(spelling.labels, 0.0), 0.0
    among, before, reach = list(spelling.labels), b"", 1.0
    for said, alternatives in steps:
        # What stands before a label in JSON was no choice of labels.
        if len(before) + len(said) > len(spelling.opening):
            for token, share in alternatives.items():
                meant = spelling.meant(before + token, among)
                if len(meant) == 1:
                    shares[meant[0]] += reach * share
                elif meant and token != said:
                    unclear += reach * share
            among = spelling.meant(before + said, among)
            if len(among) <= 1:
                return shares, unclear
            reach *= alternatives[said]
        before += said
    return shares, unclear + reach


def _agree(said: bytes, label: bytes) -> bool:
    if label.startswith(said):
        return True
    # "yes." is yes; "yesterday" is not.
    return said.startswith(label) and not re.match(rb"\w", said.removeprefix(label))


def _steps(tokens: Any) -> list[_Step]:
    try:
        return [
            (_bytes(token), {_bytes(each): _share(each) for each in (*_others(token), token)})
            for token in tokens
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Nonsense("it has no log-probabilities") from error


def _others(token: Any) -> list[Any]:
    return list(token.get("top_logprobs") or [])


def _bytes(token: Any) -> bytes:
    # Half of a character has no text of its own.
    stated = token.get("bytes")
    return bytes(list(stated)) if stated is not None else token["token"].encode()


def _share(token: Any) -> float:
    logprob = float(token["logprob"])
    if not logprob <= _ROUNDING:
        raise ValueError(f"{logprob} is no log-probability")
    return min(1.0, math.exp(logprob))
