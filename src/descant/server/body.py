"""Request bodies: what every one of them has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _check_whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("Text holds half of a surrogate pair") from error
    return text


Text = Annotated[str, AfterValidator(_check_whole)]


class Body(BaseModel):
    """A request body: unknown fields are refused by name, and no type stands for another."""

    model_config = ConfigDict(extra="forbid", strict=True)
