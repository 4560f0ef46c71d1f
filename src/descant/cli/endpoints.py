"""Endpoints named on the command line: by address with options, or by a file that says it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from descant.cli.teacher_run import asking
from descant.cli.terminal import Terminal
from descant.evaluation import Embedding, JudgedPair, Task
from descant.release import (
    EndpointAnswers,
    EndpointEmbedder,
    EndpointPlan,
    TextPair,
    ask_endpoint,
    is_address,
    judge_pairs,
    load_endpoint,
    spent_in,
    split_address,
)
from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class AddressOptions:
    """How an endpoint is asked that is named by its address alone."""

    key_env: str | None = None
    soft: bool = False
    max_answer_tokens: int = 64
    concurrency: int = 8
    timeout_s: float = 60.0
    price_in: float = 0.0
    price_out: float = 0.0
    budget_tokens: int | None = None
    budget_money: float | None = None

    def plan(self, source: str) -> EndpointPlan:
        """Return the plan for ``ADDRESS`` or ``ADDRESS#MODEL``."""
        url, model = split_address(source)
        money = self.budget_money
        return EndpointPlan(
            url,
            model,
            self.key_env,
            soft=self.soft,
            max_answer_tokens=self.max_answer_tokens,
            concurrency=self.concurrency,
            timeout_s=self.timeout_s,
            price_in=Decimal(str(self.price_in)),
            price_out=Decimal(str(self.price_out)),
            budget_tokens=self.budget_tokens,
            budget_money=None if money is None else Decimal(str(money)),
        )


@dataclass(frozen=True)
class ShownEmbedder:
    """An embedder whose progress is shown."""

    terminal: Terminal
    plan: EndpointPlan
    answers: Path

    @property
    def name(self) -> str:
        """The model and its address."""
        return self.plan.name

    def embed(self, texts: Sequence[str], /) -> list[Embedding]:
        """Return a vector for each text."""
        self.terminal.note(f"Embedding {len(texts)} texts by {self.name}")
        with asking(self.terminal, self.answers) as on_progress:
            return EndpointEmbedder(self.plan, self.answers, on_progress).embed(texts)


@dataclass(frozen=True)
class Endpoints:
    """Where answers of endpoints are kept, and how those are asked that have no file."""

    answers: Path
    options: AddressOptions = AddressOptions()

    def check(self, sources: Sequence[str | None]) -> None:
        """Refuse options that would be for several: a key for one server, a budget for one endpoint.

        Raises:
            InvalidConfig: several are named by their address.
        """
        named = {each for each in sources if each and is_address(each)}
        options = self.options
        is_limited = options.budget_tokens is not None or options.budget_money is not None
        for what, field, given, found in (
            ("key", "key_env", options.key_env, {split_address(each)[0] for each in named}),
            ("budget", "budget", is_limited, named),
        ):
            if given and len(found) > 1:
                raise InvalidConfig(
                    f"A {what} is for one, and {len(found)} are named by their address.",
                    field=field,
                    remedy=f"Describe each in a file of its own (docs/gate.md), with its {what}.",
                )

    def plan(self, source: str) -> EndpointPlan | None:
        """Return how a source is asked; None where it is no endpoint.

        Raises:
            InvalidConfig: its file is wrong.
        """
        if is_address(source):
            return self.options.plan(source)
        path = Path(source)
        return load_endpoint(path) if path.suffix == ".toml" else None

    def required(self, source: str) -> EndpointPlan:
        """Return how an endpoint is asked.

        Raises:
            InvalidConfig: it is none, or its file is wrong.
        """
        plan = self.plan(source)
        if plan is None:
            raise InvalidConfig(
                f"{source!r} is neither an address nor an endpoint's file.",
                field="endpoint",
                remedy="Name it like http://127.0.0.1:8000/v1#MODEL, or a .toml file.",
            )
        return plan

    def judge(
        self, terminal: Terminal, plan: EndpointPlan, pairs: Sequence[TextPair]
    ) -> tuple[JudgedPair, ...]:
        """Have pairs judged that have not been yet, with progress."""
        path = plan.answers_in(self.answers)
        terminal.note(f"{plan.name} judges {len(pairs)} pairs; its answers are kept in {path}")
        with asking(terminal, path) as on_progress:
            return judge_pairs(plan, pairs, path, on_progress)

    def embedder(self, terminal: Terminal, source: str) -> ShownEmbedder:
        """Return who represents texts by vectors.

        Raises:
            InvalidConfig: it is no endpoint, or its file is wrong.
        """
        plan = self.required(source)
        return ShownEmbedder(terminal, plan, plan.answers_in(self.answers))

    def ask(
        self, terminal: Terminal, plan: EndpointPlan, task: Task, run: str = ""
    ) -> EndpointAnswers:
        """Ask what has not been answered yet, with progress; another `run` asks everything again.

        The budget is for both runs together.
        """
        path = plan.answers_in(self.answers, run)
        if run:
            plan = plan.after(spent_in(plan.answers_in(self.answers)))
        terminal.note(f"Answers of {plan.name} are kept in {path}")
        with asking(terminal, path) as on_progress:
            return ask_endpoint(plan, task, path, on_progress)
