"""Which route a model takes: that of its exact name, else of the longest glob that fits it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from descant.configuration import did_you_mean
from descant.gateway.config import RouteConfig
from descant.schema.errors import ModelNotFound

_REMEMBERED = 1024
"""Names come from callers: without a bound they would fill the memory."""


class RouteTable:
    """All routes; names that were asked for are remembered."""

    def __init__(self, routes: Mapping[str, RouteConfig]):
        self._routes = dict(routes)
        self._globs = sorted(self._routes, key=lambda glob: (-len(glob), glob))
        self._found: dict[str, str] = {}

    def route(self, model: str) -> RouteConfig:
        """Return the model's route.

        Raises:
            ModelNotFound: no route fits.
        """
        return self._routes[self.name(model)]

    def name(self, model: str) -> str:
        """Return the name of the model's route.

        Raises:
            ModelNotFound: no route fits.
        """
        found = self._found.get(model)
        if found is None:
            found = self._look_up(model)
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[model] = found
        return found

    def _look_up(self, model: str) -> str:
        if model in self._routes:
            return model
        for glob in self._globs:
            if fnmatchcase(model, glob):
                return glob
        raise ModelNotFound(
            f"There is no model {model!r} here.",
            field="model",
            remedy=did_you_mean(model, self._routes) or "GET /v1/models lists those there are.",
        )
