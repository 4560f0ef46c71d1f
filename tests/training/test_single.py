"""Adapters trained one by one through PEFT load everywhere and equal those of the one pass."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from descant.data import Example
from descant.llm import LLM
from descant.model import LoadedModel, adapter_tensors, load_adapter, load_model
from descant.registry import read_manifest
from descant.schema import AdapterRef, Indicator, LabelledTranscript, Transcript, Turn
from descant.schema.errors import (
    InvalidConfig,
    InvalidData,
    MissingDependency,
    StorageFull,
    TrainingDiverged,
)
from descant.text import Renderer, Tokenizer
from descant.training import (
    Clocks,
    Hyperparameters,
    Lessons,
    Method,
    OnePassTrainer,
    Progress,
    Question,
    train_one_pass,
    train_single,
)
from descant.training.label_trainer import LabelTrainer, Lesson, newest_checkpoint
from descant.training.objective import build_tails, label_losses
from descant.training.peft_model import build_peft_model
from descant.training.schedule import Batch
from tests.cli.tiny_folder import write_model

# PEFT calls a name that transformers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

METHODS: tuple[Method, ...] = ("lora", "dora", "alora")
SETTINGS = Hyperparameters(
    rank=4,
    alpha=8.0,
    epochs=2,
    min_steps=1,
    batch_conversations=3,
    learning_rate=1e-2,
    checkpoint_steps=2,
    seed=3,
)
POLITE = Indicator("polite", "Polite?", ("no", "yes"), ("yes",), "binary", "polite")
# Two labels that share their first tokens: learned over the whole vocabulary.
MOOD = Indicator("mood", "Mood?", ("hello", "hello there"), ("hello",), "binary", "mood")
OPEN = Question("open", (3, 4), ((40, 41), (40, 42, 43), (44,)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(write_model(tmp_path_factory.mktemp("base")), torch.float32)


@pytest.fixture(scope="module")
def renderer(base: LoadedModel) -> Renderer:
    return Renderer(Tokenizer.load(base.folder))


def calls(count: int = 8) -> list[LabelledTranscript]:
    rows = []
    for at in range(count):
        turns = tuple(
            Turn("agent", "hello there" if at % 2 else "no " * (1 + at)) for _ in range(1 + at % 3)
        )
        labels = {"polite": ("no", "yes")[at % 2], "mood": (None, *MOOD.labels)[at % 3]}
        rows.append(LabelledTranscript(Transcript(f"call-{at}", turns), labels))
    return rows


def clocks() -> Clocks:
    return Clocks(itertools.count().__next__, lambda: datetime(2026, 1, 1, tzinfo=UTC))


def train(
    base: LoadedModel,
    renderer: Renderer,
    folder: Path,
    method: Method = "alora",
    indicators: tuple[Indicator, ...] = (POLITE,),
    **more: Any,
) -> list[AdapterRef]:
    settings = more.pop("settings", SETTINGS)
    return train_single(
        Lessons(base, "tiny", renderer, calls(), indicators, settings),
        folder,
        method=method,
        clocks=clocks(),
        **more,
    )


def lesson(examples: list[Example], question: Question, settings: Hyperparameters) -> Lesson:
    weights = [1.0 + 0.5 * index for index in range(len(question.labels))]
    return Lesson(question, examples, weights, [Batch(tuple(range(len(examples))), (0,))])


def examples(question: Question, count: int = 5) -> list[Example]:
    return [
        Example(
            f"call-{at}", tuple(range(30, 34 + 3 * at)), {question.name: at % len(question.labels)}
        )
        for at in range(count)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_peft_and_the_engine_answer_alike(
    method: Method, base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    [reference] = train(base, renderer, tmp_path, method)
    row = calls()[5]
    [answer] = (
        LLM(base.folder, adapters=tmp_path, dtype=torch.float32).score(row.transcript).answers
    )
    assert answer.adapter == reference
    twin = transformers.AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    prompt = [*renderer.render_transcript(row.transcript), *renderer.render_tail(POLITE)]
    labels = [ids[0] for ids in renderer.render_labels(POLITE.labels)]
    untrained = label_probabilities(twin.eval(), prompt, labels)
    trained = label_probabilities(
        peft.PeftModel.from_pretrained(twin, tmp_path / "polite").eval(), prompt, labels
    )
    assert answer.probabilities["yes"] == pytest.approx(trained[1], abs=1e-4)
    assert abs(trained[1] - untrained[1]) > 0.05


def label_probabilities(model: Any, prompt: list[int], labels: list[int]) -> list[float]:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    return logits[labels].softmax(0).tolist()


@pytest.mark.parametrize("method", ["lora"])
def test_the_manifest_says_how_it_was_trained(
    method: Method, base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    [reference] = train(base, renderer, tmp_path, method)
    manifest = read_manifest(tmp_path / "polite")
    assert manifest.recipe == {**SETTINGS.to_json(), "method": method}
    assert manifest.content_hash == reference.content_hash
    assert manifest.base_hash == base.base_hash
    assert manifest.metrics["train_labels"] == {"no": 4, "yes": 4}
    assert 0 < manifest.metrics["train_loss"] < 10
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".polite.lock") == [
        "polite"
    ]


@pytest.mark.parametrize("indicator", [POLITE, MOOD], ids=lambda indicator: indicator.name)
def test_an_activated_adapter_is_that_of_the_one_pass(
    indicator: Indicator, base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    train(base, renderer, tmp_path / "single", "alora", (indicator,))
    together = tmp_path / "one_pass"
    lessons = Lessons(base, "tiny", renderer, calls(), [indicator], SETTINGS)
    train_one_pass(lessons, together, clocks=clocks())
    single, one_pass = (
        load_file(tmp_path / name / indicator.name / "adapter_model.safetensors")
        for name in ("single", "one_pass")
    )
    assert single.keys() == one_pass.keys()
    for name, tensor in single.items():
        # Adam divides by the gradient's size: where that is almost nothing, roundings are moves.
        assert torch.allclose(tensor, one_pass[name], atol=5e-4), name
    moved = torch.cat([x.flatten() for name, x in single.items() if "lora_B" in name])
    assert moved.abs().max() > 0.01
    read = [read_manifest(tmp_path / name / indicator.name) for name in ("single", "one_pass")]
    assert read[0].metrics["train_loss"] == pytest.approx(read[1].metrics["train_loss"], abs=1e-4)


@pytest.mark.parametrize("tokens_at_once", [1, 60, 4096])
@pytest.mark.parametrize("open_labels", [False, True])
def test_the_loss_is_that_of_the_objective(
    open_labels: bool,
    tokens_at_once: int,
    base: LoadedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = OPEN if open_labels else Question("closed", (3, 4), ((40,), (41,), (42,)))
    rows = examples(question)
    one_pass = OnePassTrainer(base.model, [question], rows, SETTINGS)
    for _ in range(2):
        one_pass.train_step(Batch(tuple(range(len(rows))), (0,)))
    pairs = one_pass.stack.pairs(0)
    model = build_peft_model(base, "alora", SETTINGS, question.tail_ids, seed=1)
    peft.set_peft_model_state_dict(model, adapter_tensors(pairs))
    taught = lesson(rows, question, SETTINGS)
    trainer = LabelTrainer(model, base.model, taught, SETTINGS, tmp_path, lambda *step: None)
    monkeypatch.setattr("descant.training.label_trainer._TOKENS_AT_ONCE", tokens_at_once)
    got = trainer.training_step(model, {"conversations": range(len(rows))})
    gradient = next(p.grad for name, p in model.named_parameters() if "lora_B" in name)

    tails = build_tails([question], rows, {question.name: taught.label_weights})
    readings = one_pass.readings.get(range(len(rows)), [row.prefix_ids for row in rows])
    active = one_pass.stack.activate([0], torch.float32)
    [expected] = label_losses(
        base.model, one_pass.forward(tails, readings, active), tails, [question]
    )
    expected.backward()
    assert got.item() == pytest.approx(expected.item(), abs=1e-5)
    # The first module of the first layer.
    assert torch.allclose(gradient.T, active.matrices[0, "qkv"][1].grad[0], atol=1e-5)


def killed_at(step: int) -> Callable[[Progress], None]:
    def kill(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return kill


# DoRA has every kind of parameter that there is to be restored.
@pytest.mark.parametrize("method", ["dora"])
def test_a_killed_run_goes_on_to_the_same_adapters(
    method: Method, base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    both = (POLITE, MOOD)
    steps: list[Progress] = []
    unbroken = train(base, renderer, tmp_path / "whole", method, both, on_progress=steps.append)
    assert [progress.step for progress in steps] == list(range(1, steps[-1].num_steps + 1))
    first = max(p.step for p in steps if "polite" in p.losses)
    # In the first adapter behind a checkpoint, then in the second before its first one.
    for kill_at, resume in ((3, False), (first + 1, True)):
        with pytest.raises(KeyboardInterrupt):
            train(
                base,
                renderer,
                tmp_path / "killed",
                method,
                both,
                resume=resume,
                on_progress=killed_at(kill_at),
            )
    seen: list[Progress] = []
    broken = train(
        base, renderer, tmp_path / "killed", method, both, resume=True, on_progress=seen.append
    )
    assert broken == unbroken
    assert [progress.step for progress in seen] == list(range(first + 1, steps[-1].num_steps + 1))
    assert not (tmp_path / "killed" / ".checkpoint").exists()


def test_a_run_goes_on_from_its_checkpoint_and_not_from_its_beginning(
    base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(base, renderer, tmp_path, on_progress=killed_at(5))
    seen: list[Progress] = []
    train(base, renderer, tmp_path, resume=True, on_progress=seen.append)
    assert seen[0].step == 5


def test_a_run_killed_while_it_writes_an_adapter_does_not_train_it_again(
    base: LoadedModel, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(base, renderer, tmp_path / "whole")

    def kill(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("descant.training.single.write_adapter", kill)
        train(base, renderer, tmp_path / "killed")
    seen: list[Progress] = []
    resumed = train(base, renderer, tmp_path / "killed", resume=True, on_progress=seen.append)
    assert resumed == whole
    assert not seen


def test_what_cannot_be_resumed_is_refused(
    base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig, match="nothing to resume"):
        train(base, renderer, tmp_path, resume=True)
    with pytest.raises(KeyboardInterrupt):
        train(base, renderer, tmp_path, on_progress=killed_at(3))
    for changes in ({"method": "lora"}, {"settings": replace(SETTINGS, seed=4)}):
        with pytest.raises(InvalidConfig, match="another run"):
            train(base, renderer, tmp_path, resume=True, **changes)


def test_a_checkpoint_that_is_not_whole_does_not_count(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (40, json.dumps({"global_step": 40})), (100, '{"global')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-120").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-40"
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_full_disk_says_so(
    base: LoadedModel, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.Trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(StorageFull, match="No space left"):
        train(base, renderer, tmp_path)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_loss_that_is_not_a_number_stops_before_the_step(
    broken: str, base: LoadedModel, tmp_path: Path
) -> None:
    question = Question("closed", (3, 4), ((40,), (41,)))
    rows = examples(question)
    model = build_peft_model(base, "lora", SETTINGS, question.tail_ids, seed=1)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    first = next(iter(weights))
    if broken == "loss":
        weights[first].data.fill_(torch.nan)
    else:
        weights[first].register_hook(lambda gradient: gradient * torch.inf)
    before = {name: p.detach().clone() for name, p in weights.items()}
    taught = lesson(rows, question, SETTINGS)
    trainer = LabelTrainer(model, base.model, taught, SETTINGS, tmp_path, lambda *step: None)
    with pytest.raises(TrainingDiverged, match=r"'closed'.*step 0.*call-0, call-1"):
        trainer.learn()
    assert all(
        torch.equal(p.nan_to_num(), before[name].nan_to_num()) for name, p in weights.items()
    )


def test_qlora_is_refused_without_a_gpu(
    base: LoadedModel, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidConfig, match=r"NVIDIA GPU.*Use lora or alora") as caught:
        train(base, renderer, tmp_path, "qlora")
    assert caught.value.field == "method"
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_says_how_to_install_it(
    base: LoadedModel, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingDependency, match=r"peft.*pip install 'descant\[train\]'"):
        train(base, renderer, tmp_path, "lora")


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed"
)
def test_four_bits_have_an_extra_of_their_own(
    base: LoadedModel, renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(MissingDependency, match=r"bitsandbytes.*'descant\[qlora\]'"):
        train(base, renderer, tmp_path, "qlora")


def test_an_unknown_method_and_a_quantized_model_are_refused(
    base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfig, match="'ia3'.*lora, dora, qlora, alora"):
        train(base, renderer, tmp_path, "ia3")  # type: ignore[arg-type]
    quantized = load_model(base.folder, torch.float32)
    quantized.model.quantize("w8a8")
    with pytest.raises(InvalidConfig, match="w8a8.*without quantization"):
        train(quantized, renderer, tmp_path, "lora")


def test_an_indicator_nobody_labelled_is_named(
    base: LoadedModel, renderer: Renderer, tmp_path: Path
) -> None:
    silent = replace(POLITE, name="silent", adapter="silent")
    with pytest.raises(InvalidData, match="silent"):
        train(base, renderer, tmp_path, "lora", (POLITE, silent))


@pytest.mark.gpu
def test_qlora_learns_on_a_gpu(base: LoadedModel, renderer: Renderer, tmp_path: Path) -> None:
    seen: list[Progress] = []
    settings = replace(SETTINGS, epochs=20)
    train(base, renderer, tmp_path, "qlora", settings=settings, on_progress=seen.append)
    assert seen[-1].losses["polite"] < 0.5 * seen[0].losses["polite"]
    adapter = load_adapter(tmp_path / "polite", base.config)
    assert adapter.activation == "start"
