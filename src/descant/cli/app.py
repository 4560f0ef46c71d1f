"""All commands under one name, and what every error and interrupt turns into.

Exit codes: 0 done, 1 internal, 2 a mistake the caller can correct, 3 something is not installed,
4 a release was refused, 130 interrupted. Commands import what they need when they run, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from descant import __version__
from descant.cli import (
    adapters,
    bench,
    calibrate,
    cascade,
    compare,
    cost,
    data,
    demo,
    distill,
    economy,
    evaluate,
    gate,
    gateway,
    importer,
    judge,
    models,
    promotion,
    redact,
    registry,
    score,
    serve,
    train,
    trial,
    usage,
)
from descant.cli.process import prepare_process
from descant.cli.terminal import Terminal
from descant.schema import DescantError
from descant.schema.errors import MissingDependency

_INTERRUPTED = 130
_ENGINE_PACKAGES = frozenset(
    {
        "fastapi",
        "gguf",
        "httpx",
        "huggingface_hub",
        "jaxtyping",
        "jinja2",
        "llguidance",
        "numpy",
        "scipy",
        "sklearn",
        "starlette",
        "statsmodels",
        "tokenizers",
        "torch",
    }
)
"""What the gateway alone does not need."""


class _Commands(TyperGroup):
    """Turns errors into one line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with _reported_errors():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Groups of commands stand where they are needed, not behind all others."""
        names = super().list_commands(ctx)
        return sorted(names, key=lambda name: names.index(name) if name != "train" else 0.5)


@contextmanager
def _reported_errors() -> Iterator[None]:
    try:
        yield
    except DescantError as error:
        raise _exit(error) from error
    except KeyboardInterrupt as error:
        Terminal().note("Interrupted.")
        raise typer.Exit(_INTERRUPTED) from error
    except ModuleNotFoundError as error:
        if (error.name or "descant").startswith("descant"):
            raise
        package = (error.name or "").partition(".")[0]
        wanted = "'descant[engine]'" if package in _ENGINE_PACKAGES else package
        missing = MissingDependency(
            f"The Python package {package} is not installed.",
            remedy=f"Install it: pip install {wanted}",
        )
        raise _exit(missing) from error


def _exit(error: DescantError) -> typer.Exit:
    Terminal().error(error)
    return typer.Exit(error.exit_code)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        Terminal().print(f"descant {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="descant",
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Start with:  descant demo",
    )

    @app.callback()
    def _root(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
        ] = False,
    ) -> None:
        """Read a conversation once, answer every question about it."""

    for group in (
        demo,
        importer,
        redact,
        distill,
        calibrate,
        evaluate,
        gate,
        judge,
        compare,
        cost,
        score,
        serve,
        gateway,
        usage,
        economy,
        trial,
        adapters,
    ):
        group.add_to(app)
    promotion.add_to(app)
    app.add_typer(data.build(), name="data")
    app.add_typer(train.build(), name="train")
    app.add_typer(bench.build(), name="bench")
    app.add_typer(cascade.build(), name="cascade")
    app.add_typer(models.build(), name="models")
    app.add_typer(registry.build(), name="registry")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with an exit code."""
    prepare_process()
    build_app()(args=None if arguments is None else list(arguments), prog_name="descant")
