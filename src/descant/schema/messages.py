"""Chat messages as OpenAI's API writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Message:
    """One chat message; its content is always treated as text, never as template."""

    role: Role
    content: str
