"""``descant serve``: chats, completions, scorecards and batches over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from descant.cli.options import (
    DEFAULT_ADAPTERS,
    DEFAULT_MODEL,
    AdapterDtypeOption,
    IndicatorsOption,
    KvDtypeOption,
    ModelOption,
    QuantizationOption,
)
from descant.cli.serve_options import (
    AdapterHostOption,
    AdapterOption,
    AdapterRootOption,
    BatchesOption,
    CanaryOption,
    DealBy,
    DealOption,
    DraftOption,
    DrainOption,
    FollowOption,
    HostOption,
    KeysOption,
    KvCacheOption,
    MaxRequestOption,
    MaxRequestsOption,
    PortOption,
    PreloadOption,
    RequestLogOption,
    ServedAdaptersOption,
    ServedNameOption,
    ShadowOption,
    StepOption,
    ThreadsOption,
    TrialLogOption,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from descant.llm import LLM
    from descant.server import Trial, TrialConfig

_FLUSH_S = 2
"""How long connections have to take what was sent, once no request is running."""
_GIB, _MIB = 1 << 30, 1 << 20


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant serve --port 8000 --adapters runs/demo/adapters")(serve)


def serve(  # noqa: PLR0913 - an option each
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    model: ModelOption = DEFAULT_MODEL,
    indicators: IndicatorsOption = None,
    served_name: ServedNameOption = None,
    adapters: ServedAdaptersOption = None,
    registry: FollowOption = None,
    adapter_root: AdapterRootOption = None,
    preload: PreloadOption = False,
    quantization: QuantizationOption = None,
    kv_dtype: KvDtypeOption = "model",
    adapter_dtype: AdapterDtypeOption = "model",
    draft_tokens: DraftOption = 0,
    max_step_tokens: StepOption = 2048,
    kv_cache_gib: KvCacheOption = 1.0,
    adapter_gib: AdapterOption = 2.0,
    adapter_host_gib: AdapterHostOption = 4.0,
    threads: ThreadsOption = None,
    max_requests: MaxRequestsOption = 1024,
    max_request_mib: MaxRequestOption = 2.0,
    drain_s: DrainOption = 30.0,
    keys: KeysOption = None,
    batches: BatchesOption = None,
    request_log: RequestLogOption = None,
    shadow: ShadowOption = 0.0,
    canary: CanaryOption = 0.0,
    deal_by: DealOption = DealBy.CONVERSATION,
    trial_log: TrialLogOption = None,
) -> None:
    """Answer chats, completions, embeddings and scorecards over HTTP, as OpenAI's API has them.

    /docs lists the routes. The first Ctrl-C or SIGTERM lets running requests end and refuses new
    ones, as /ready says; the second ends at once.
    """
    from descant.cli.process import bound_kernel_caches

    bound_kernel_caches()

    import torch

    from descant.adapters import LibraryConfig, RegistryFollower
    from descant.cli.registry_options import open_registry
    from descant.cli.terminal import Terminal
    from descant.engine import EngineConfig
    from descant.llm import LLM
    from descant.monitoring import RequestLog
    from descant.schema import load_indicators
    from descant.server import BatchConfig, ServerConfig, TrialConfig, create_app

    terminal = Terminal()
    config = ServerConfig(
        max_request_bytes=int(max_request_mib * _MIB),
        max_requests=max_requests,
        keys_file=keys,
        batches=None if batches is None else BatchConfig(batches),
        drain_s=drain_s,
    )
    library = LibraryConfig(
        allowed=tuple(adapter_root or ()), host_bytes=int(adapter_host_gib * _GIB)
    )
    engine = EngineConfig(
        kv_cache_bytes=int(kv_cache_gib * _GIB),
        kv_dtype=kv_dtype,
        max_step_tokens=max_step_tokens,
        adapter_dtype=adapter_dtype,
        adapter_bytes=int(adapter_gib * _GIB),
        draft_tokens=draft_tokens,
    )
    # Whoever follows a registry has not asked for what lies in the usual folder.
    folder = None if registry and adapters is None else adapters_folder(adapters)
    opened = None if registry is None else open_registry(registry, "server")
    log = None if request_log is None else RequestLog(open_log(request_log))
    if threads is not None:
        torch.set_num_threads(threads)
    # Before the model is loaded, so that a port in use is known at once.
    with listen(host, port) as listener:
        terminal.note(f"Loading {model}")
        llm = LLM(model, adapters=folder, library=library, quantization=quantization, engine=engine)
        llm.model_name = served_name or llm.model_name
        follower = None
        if opened is not None:
            follower = RegistryFollower(llm.library, opened, terminal.note, asks=indicators is None)
        if preload:
            llm.load_adapters()
        asked = llm.indicators() if indicators is None else load_indicators(indicators)
        trial = _trial(TrialConfig(shadow, canary, deal_by.value), trial_log, registry, llm)
        app = create_app(llm, asked, config, request_log=log, follower=follower, trial=trial)
        num_adapters = sum(entry.is_current for entry in llm.library.list())
        address, chosen = listener.getsockname()[:2]
        terminal.note(
            f"Serving {llm.model_name}, {num_adapters} adapters and "
            f"{len(app.state.indicators())} indicators on http://{address}:{chosen}; Ctrl-C stops"
        )
        run_server(app, listener, drain_s)
    terminal.note("Stopped.")


def _trial(config: TrialConfig, log: Path | None, registry: str | None, llm: LLM) -> Trial | None:
    from descant.schema.errors import InvalidConfig
    from descant.server import Trial

    if not (config.shadow_share or config.canary_share):
        return None
    if registry is None:
        raise InvalidConfig(
            "Challengers are those of a registry.", field="registry", remedy="Name it: --registry."
        )
    if log is None:
        raise InvalidConfig(
            "What champions and challengers answer has to be written down.",
            field="trial_log",
            remedy="Name a file: --trial-log.",
        )
    return Trial(config, open_log(log), llm.has_adapter)


def adapters_folder(named: Path | None) -> Path | None:
    """Return the folder of adapters; None where nobody named one and the usual one is not there.

    Raises:
        AdapterNotFound: the one that was named is not there.
    """
    from descant.schema.errors import AdapterNotFound

    if named is None:
        return DEFAULT_ADAPTERS if DEFAULT_ADAPTERS.is_dir() else None
    if not named.is_dir():
        raise AdapterNotFound(
            f"There is no folder {named}.",
            field="adapters",
            remedy="Name one that is there, or leave --adapters out to serve the base model alone.",
        )
    return named


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        InvalidConfig: the address cannot be listened on.
    """
    from descant.schema.errors import InvalidConfig

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvalidConfig(
            f"Cannot listen on {host}:{port}: {error}.",
            field="port",
            remedy="Choose another address or port with --host and --port.",
        ) from error


def open_log(path: Path) -> TextIO:
    """Open a log to append to.

    Raises:
        InvalidConfig: it cannot be written.
    """
    from descant.schema.errors import InvalidConfig

    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(
            f"Cannot write {path}: {error.strerror}.", field="request_log"
        ) from error


def run_server(app: FastAPI, listener: socket.socket, drain_s: float = 30.0) -> None:
    """Serve until a signal; requests that have begun have `drain_s` to be answered.

    Raises:
        KeyboardInterrupt: a second signal ended it at once.
    """
    import uvicorn

    from descant.cli.draining_server import DrainingServer

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_FLUSH_S
    )
    server = DrainingServer(config, app.state.drain, drain_s)
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        # A thread that computes while Python ends would abort the process.
        app.state.engine.close()
    if server.force_exit:
        raise KeyboardInterrupt
