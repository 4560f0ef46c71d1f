"""STAR: one recipe after the other on some indicators, over readings that are made once.

For choosing a recipe: every variant trains on the same 750 dialogues (their readings and those of dev stay in memory, 17 GB) and is judged on dev by
macro-F1 at the likelier label and by ROC AUC, which does not depend on a threshold. Appends a line a
variant to results/star_sweep.jsonl, and goes on behind those that are there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.star.machine import describe
from benchmarks.star.run import MODEL, RESULTS, subset
from sklearn.metrics import f1_score, roc_auc_score

from descant.cli.process import prepare_process
from descant.data import Example, build_examples, read_star, star_indicators
from descant.model import LoadedModel, load_model
from descant.schema import Indicator
from descant.text import Renderer, Tokenizer
from descant.training import Checkpoint, Hyperparameters, OnePassTrainer, Question, questions_for
from descant.training.objective import build_tails
from descant.training.readings import ReadingStore

HARD = (
    "customer_changed_mind",
    "agent_repeated_same_question",
    "user_calm_and_helpful",
    "customer_annoyed",
    "scenario_happy_path",
)
BASE = Hyperparameters(learning_rate=1e-3, reading_cache_bytes=16 << 30)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
RECIPES = {
    "start": BASE,
    "class weight power 1": replace(BASE, class_weight_power=1.0),
    "power 1, gradient norm 100": replace(BASE, class_weight_power=1.0, max_gradient_norm=100.0),
    "learning rate 2e-3": replace(BASE, learning_rate=2e-3),
    "learning rate 4e-4": replace(BASE, learning_rate=4e-4),
    "6 epochs": replace(BASE, epochs=6),
    "rank 4": replace(BASE, rank=4, alpha=8.0),
    "rank 64": replace(BASE, rank=64, alpha=128.0),
    "attention only": replace(BASE, target_modules=ATTENTION),
    "batches of 16": replace(BASE, batch_conversations=16),
    "question in the tail": BASE,
    "label words": BASE,
}
LABEL_WORDS = {
    "customer_changed_mind": ("same", "changed"),
    "agent_repeated_same_question": ("once", "again"),
    "user_calm_and_helpful": ("upset", "calm"),
    "customer_annoyed": ("fine", "annoyed"),
    "scenario_happy_path": ("trouble", "smooth"),
}


def main() -> None:
    """Train and judge every variant that has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(RECIPES))
    options = parser.parse_args()
    sweep = _Sweep(options.star)
    path = RESULTS / "star_sweep.jsonl"
    done = {json.loads(line)["variant"] for line in path.open()} if path.exists() else set()
    for name in options.only or RECIPES:
        if name in done:
            continue
        started = time.perf_counter()
        result = sweep.run(name)
        line = {"variant": name, "train_s": time.perf_counter() - started, **result, **describe()}
        with path.open("a") as out:
            out.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


class _Sweep:
    def __init__(self, star: Path):
        self.base: LoadedModel = load_model(MODEL)
        self.renderer = Renderer(Tokenizer.load(self.base.folder))
        self.indicators = star_indicators(list(HARD))
        self.train = self._examples(subset(read_star(star, "train"), 750))
        self.dev = self._examples(read_star(star, "dev"))
        self.stores: dict[str, ReadingStore] = {}

    def run(self, name: str) -> dict[str, Any]:
        recipe = RECIPES[name]
        questions = self._questions(name)
        trainer = OnePassTrainer(self.base.model, questions, self.train, recipe)
        trainer.readings = self._store("train", trainer)
        with tempfile.TemporaryDirectory() as folder:
            trainer.train(
                Checkpoint(Path(folder), name),
                time.perf_counter,
                lambda p: p.step % 50 or print(name, p.step, p.num_steps, file=sys.stderr),
            )
        figures = self._judge(trainer, questions)
        return {"recipe": recipe.to_json(), "indicators": figures}

    def _judge(self, trainer: OnePassTrainer, questions: Sequence[Question]) -> dict[str, Any]:
        store = self._store("dev", trainer)
        rows = [example.prefix_ids for example in self.dev]
        scores: list[list[tuple[float, int]]] = [[] for _ in questions]
        for start in range(0, len(self.dev), 16):
            chunk = range(start, min(start + 16, len(self.dev)))
            examples = [self.dev[index] for index in chunk]
            tails = build_tails(questions, examples, {q.name: [1.0] * 2 for q in questions})
            active = trainer.stack.activate(range(len(questions)), self.base.model.dtype)
            with torch.no_grad():
                hidden = trainer.forward(tails, store.get(chunk, rows), active)
                for row, question in enumerate(questions):
                    vocabulary = torch.tensor([label[0] for label in question.labels])
                    place = len(question.tail_ids) - 1
                    logits = self.base.model.logits(hidden[row, :, place], vocabulary)
                    margins = (logits[:, 1] - logits[:, 0]).tolist()
                    scores[row] += [
                        (margin, example.targets[question.name])
                        for margin, example in zip(margins, examples, strict=True)
                        if question.name in example.targets
                    ]
        return {q.name: _figures(pairs) for q, pairs in zip(questions, scores, strict=True)}

    def _questions(self, name: str) -> list[Question]:
        plain = questions_for(self.indicators, self.renderer)
        if name == "question in the tail":
            return [
                replace(question, tail_ids=(*question.tail_ids, *self._words(indicator)))
                for question, indicator in zip(plain, self.indicators, strict=True)
            ]
        if name == "label words":
            return [
                replace(
                    q, labels=tuple(map(tuple, self.renderer.render_labels(LABEL_WORDS[q.name])))
                )
                for q in plain
            ]
        return plain

    def _words(self, indicator: Indicator) -> list[int]:
        return self.renderer.render_label(f"{indicator.question} ")

    def _examples(self, rows: Any) -> list[Example]:
        length = self.base.config.max_positions - 64
        examples = build_examples(rows, self.indicators, self.renderer, length)
        return sorted(examples, key=lambda example: example.transcript_id)

    def _store(self, part: str, trainer: OnePassTrainer) -> ReadingStore:
        if part not in self.stores:
            self.stores[part] = ReadingStore(self.base.model, trainer.kernel, 16 << 30)
        return self.stores[part]


def _figures(pairs: Sequence[tuple[float, int]]) -> dict[str, float]:
    margins, labels = zip(*pairs, strict=True)
    chosen = [int(margin > 0) for margin in margins]
    return {
        "macro_f1": round(float(f1_score(labels, chosen, average="macro")), 4),
        "auc": round(float(roc_auc_score(labels, margins)), 4),
    }


if __name__ == "__main__":
    prepare_process()
    main()
