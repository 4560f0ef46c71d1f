"""What a Descant server serves right now, as one hash: answers of other adapters are others."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeGuard

from descant.distillation import Endpoint, NoReply
from descant.release.endpoint_plan import EndpointPlan
from descant.schema.errors import EndpointUnusable, TeacherUnavailable

_PATHS = ("/models", "/adapters")
_FIELDS = ("id", "name", "content_hash", "release", "is_current", "calibration")


async def served_version(plan: EndpointPlan, key: str | None) -> str:
    """Return the hash of base and adapters; of a chat model, its name.

    Raises:
        EndpointUnusable: it is no Descant server.
        TeacherUnavailable: it does not answer.
    """
    if plan.model is not None or plan.version is not None:
        return plan.model or plan.version or ""
    async with Endpoint(plan.url, key, plan.timeout_s) as endpoint:
        documents = [await _document(plan, endpoint, path) for path in _PATHS]
    text = json.dumps(documents, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


async def _document(plan: EndpointPlan, endpoint: Endpoint, path: str) -> list[dict[str, Any]]:
    try:
        reply = await endpoint.get(path)
    except NoReply as error:
        raise TeacherUnavailable(
            f"{plan.name}: {error}", field="url", remedy="Start it, and run the same again."
        ) from error
    if reply.status == 429 or reply.status >= 500:
        raise TeacherUnavailable(
            f"{plan.name}: status {reply.status}: {reply.message}",
            field="url",
            remedy="Run the same again later.",
        )
    found = reply.document.get("data") if isinstance(reply.document, dict) else None
    if reply.status != 200 or not _is_descants(found):
        raise EndpointUnusable(
            f"{plan.name} does not say which adapters it serves (GET {path}: status {reply.status}).",
            field="url",
            remedy="Name a chat model behind the address, like http://127.0.0.1:8000/v1#MODEL, or "
            "the version of what a gateway serves in an endpoint's file.",
        )
    rows = [{key: row[key] for key in _FIELDS if key in row} for row in found]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def _is_descants(found: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(found, list) and all(
        isinstance(row, dict) and "content_hash" in row for row in found
    )
