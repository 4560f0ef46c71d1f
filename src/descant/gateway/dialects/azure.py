"""Azure OpenAI: OpenAI's bodies at Azure's paths, a model there being a deployment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from descant.gateway.call import Call
from descant.gateway.dialects.openai import PATH_OF, OpenAIDialect
from descant.schema.errors import InputError

NEW_SURFACE = "v1"
"""The `api_version` under which Azure answers at OpenAI's own paths."""


_DEPLOYMENT = re.compile(r"/deployments/[^/]+(/.+)")


def openai_path(path: str) -> str:
    """Return OpenAI's path for one that an Azure client asks for; the model is in the body as well."""
    rest = path.removeprefix("/openai")
    if rest.startswith("/v1/"):
        return rest
    found = _DEPLOYMENT.fullmatch(rest)
    return "/v1" + (found[1] if found else rest)


@dataclass(frozen=True)
class AzureDialect(OpenAIDialect):
    """What its content filters add to answers and refusals passes as it is."""

    api_version: str = NEW_SURFACE

    def path(self, call: Call, model: str) -> str:
        """Return the operation's path of this deployment."""
        operation = PATH_OF[call.operation]
        if self.api_version == NEW_SURFACE:
            return f"{self.base_path}/openai{operation}"
        if model in (".", ".."):
            raise InputError("A deployment is a name.", field="model")
        deployment, version = quote(model, safe=""), quote(self.api_version, safe="")
        place = f"{self.base_path}/openai/deployments/{deployment}"
        return f"{place}{operation.removeprefix('/v1')}?api-version={version}"

    def place(self, path: str) -> str:
        """Return where what OpenAI has at this path is: of the resource, not of a deployment."""
        if self.api_version == NEW_SURFACE:
            return f"{self.base_path}/openai{path}"
        version = quote(self.api_version, safe="")
        return f"{self.base_path}/openai{path.removeprefix('/v1')}?api-version={version}"
