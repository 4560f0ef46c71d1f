"""``descant economy``: what a gateway's tokens are spent on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from descant.cli.options import JsonOption

_TIMEOUT_S = 30.0


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant economy http://127.0.0.1:8080 --key-env DESCANT_ADMIN_KEY"
    app.command(epilog=f"Example:  {example}")(economy)


def economy(
    url: Annotated[str, typer.Argument(help="Where the gateway listens.")],
    key_env: Annotated[
        str,
        typer.Option(help="The environment variable with a key whose settings say admin = true."),
    ] = "DESCANT_ADMIN_KEY",
    json: JsonOption = False,
) -> None:
    """Show what each model's tokens are spent on, what trimming would save, and how small max_tokens may be.

    It is what one worker has seen since it began; prompts' parts are estimates that add up to the
    tokens that upstreams counted.
    """
    from descant.cli.economy_table import advice_lines, economy_table
    from descant.cli.terminal import Terminal

    told = _fetch(url.rstrip("/").removesuffix("/v1") + "/admin/economy", _key(key_env))
    terminal = Terminal()
    if json:
        terminal.print_json(told)
        return
    terminal.print(economy_table(told["routes"]))
    for line in advice_lines(told["routes"]):
        terminal.print(line)


def _key(name: str) -> str:
    import os

    from descant.schema.errors import InvalidConfig

    key = os.environ.get(name)
    if not key:
        raise InvalidConfig(
            f"The environment variable {name} is not set.",
            field="key_env",
            remedy="It holds a key whose settings in the gateway's file say admin = true.",
        )
    return key


def _fetch(url: str, key: str) -> dict[str, Any]:
    from json import loads
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    from descant.schema.errors import InvalidConfig, UpstreamFailed

    if not url.startswith(("http://", "https://")):
        raise InvalidConfig(f"{url!r} is no address of a gateway.", field="url")
    request = Request(url, headers={"authorization": f"Bearer {key}"})
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:
            told = loads(answer.read())
    except HTTPError as error:
        raise UpstreamFailed(f"{url}: {_words(error.read()) or error.reason}") from error
    except (URLError, OSError, ValueError) as error:
        raise UpstreamFailed(f"{url} cannot be read: {error}.") from error
    if not isinstance(told, dict) or not isinstance(told.get("routes"), list):
        raise UpstreamFailed(f"{url} is not a gateway's page.")
    return told


def _words(body: bytes) -> str | None:
    from json import loads

    try:
        return str(loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return None
