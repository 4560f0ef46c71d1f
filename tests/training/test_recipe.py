from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.schema.errors import InvalidConfig
from descant.training import (
    Budget,
    DataSources,
    FirstRecipe,
    Hyperparameters,
    Recipe,
    load_recipe,
    trainer_for,
)

SHORTEST = 'base = "model"\nindicators = "asked"\noutput = "out"\n[data]\ntrain = "calls.jsonl"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model", "asked"):
        (tmp_path / name).mkdir()
    for name in ("calls.jsonl", "dev.jsonl"):
        (tmp_path / name).touch()
    return tmp_path


def refused(folder: Path, text: str) -> list[str]:
    """Return what is said about a recipe, a mistake a line, without the folder's name."""
    path = folder / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load_recipe(path)
    lines = str(caught.value).replace(f"{folder}/", "").splitlines()
    return lines[1:] if lines[0].endswith(" mistakes.") else lines


def test_a_recipe_says_the_whole_of_a_run_and_paths_are_relative_to_it(folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_text(
        'base = "smollm2-135m-instruct"\nindicators = "asked"\nmethod = "lora"\n'
        'output = "/else/where"\n[data]\ntrain = "calls.jsonl"\ndev = "dev.jsonl"\n'
        '[training]\nepochs = 4\nalpha = 8\ntarget_modules = ["q_proj"]\n'
        "[budget]\ntime_s = 60\nmemory_bytes = 1_000\n"
    )
    assert load_recipe(path) == Recipe(
        base="smollm2-135m-instruct",
        indicators=folder / "asked",
        output=Path("/else/where"),
        data=DataSources(folder / "calls.jsonl", folder / "dev.jsonl"),
        method="lora",
        training=Hyperparameters(epochs=4, alpha=8.0, target_modules=("q_proj",)),
        budget=Budget(60.0, 1000),
    )


def test_what_is_not_said_has_a_default_and_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SHORTEST.encode())
    recipe = load_recipe(path)
    assert recipe.base == str(folder / "model")
    assert (recipe.method, recipe.training) == ("one_pass", Hyperparameters())
    assert not recipe.budget.is_limited
    assert recipe.data == DataSources(folder / "calls.jsonl", None, 0.0)


def test_every_mistake_is_said_at_once_with_line_key_and_remedy(folder: Path) -> None:
    text = """\
bse = "model"
indicators = "calls.jsonl"
method = "one_pas"
epochs = 4

[data]
train = "cals.jsonl"
dev_share = 1.5

[training]
lerning_rate = 0.1
rank = "16"
alpha = -1.0
batch_conversations = 0
seed = true
target_modules = [
    "q_proj",
    "w_proj",
]
output = "x"

[budget]
memory_bytes = 0.5
"""
    modules = "'q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj' or 'down_proj'"
    assert refused(folder, text) == [
        "recipe.toml:1: bse: unknown key. Did you mean 'base'?",
        "recipe.toml:1: base: is missing.",
        "recipe.toml:1: output: is missing.",
        "recipe.toml:2: indicators: calls.jsonl is not a folder.",
        "recipe.toml:3: method: must be 'one_pass', 'lora', 'dora', 'qlora' or 'alora', "
        "not \"one_pas\". Did you mean 'one_pass'?",
        "recipe.toml:4: epochs: unknown key. It belongs below [training].",
        "recipe.toml:7: data.train: cals.jsonl does not exist. Did you mean 'calls.jsonl'?",
        "recipe.toml:8: data.dev_share: must be less than 1, not 1.5.",
        "recipe.toml:11: training.lerning_rate: unknown key. Did you mean 'learning_rate'?",
        'recipe.toml:12: training.rank: must be a valid integer, not "16".',
        "recipe.toml:13: training.alpha: alpha must be greater than 0.",
        "recipe.toml:14: training.batch_conversations: batch_conversations must be at least 1.",
        "recipe.toml:15: training.seed: must be a valid integer, not true.",
        f'recipe.toml:18: training.target_modules[1]: must be {modules}, not "w_proj". '
        "Did you mean 'v_proj'?",
        "recipe.toml:20: training.output: unknown key. It belongs above the first [table].",
        "recipe.toml:23: budget.memory_bytes: must be a valid integer, not 0.5.",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[data]", "recipe.toml:4: data.train: is missing."),
        ("", "recipe.toml:1: data.train: is missing."),
        ("data = 3", "recipe.toml:4: data: must be a table: [data]."),
        (
            '[data]\ntrain = "calls.jsonl"\ndev = "dev.jsonl"\ndev_share = 0.5',
            "recipe.toml:7: data.dev_share: dev_share has no use beside dev. Keep one of the two.",
        ),
        ('[data]\ntrain = "asked"', "recipe.toml:5: data.train: asked is not a file."),
        ("[data]\ntrain = 7", "recipe.toml:5: data.train: must be a valid string, not 7."),
        (
            'data = { train = "calls.jsonl", dve = 1 }',
            "recipe.toml:4: data.dve: unknown key. Did you mean 'dev'?",
        ),
        (
            '[data]\ntrain = "calls.jsonl"\n[training]\ntarget_modules = []',
            "recipe.toml:7: training.target_modules: target_modules must name some of q_proj, "
            "k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.",
        ),
        (
            '[data]\ntrain = "calls.jsonl"\n[training]\nalpha = nan',
            "recipe.toml:7: training.alpha: alpha must be greater than 0.",
        ),
    ],
)
def test_a_single_mistake(folder: Path, more: str, said: str) -> None:
    text = f'base = "model"\nindicators = "asked"\noutput = "out"\n{more}\n'
    assert refused(folder, text) == [said]


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("smollm2-135", "No model 'smollm2-135': not a folder, "),
        ("none.gguf", "none.gguf does not exist."),
    ],
)
def test_a_base_that_is_nowhere_is_a_mistake(folder: Path, base: str, said: str) -> None:
    (line,) = refused(folder, SHORTEST.replace('"model"', f'"{base}"'))
    assert line.startswith(f"recipe.toml:1: base: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base =\n", "recipe.toml:1: not TOML: Invalid value."),
        ("a = 1\nb = [1,\n", "recipe.toml: not TOML: "),
        ("a = 1\na = 2\n", "recipe.toml:2: not TOML: Cannot overwrite a value."),
    ],
)
def test_what_is_not_toml_is_refused_by_line(folder: Path, text: str, said: str) -> None:
    assert refused(folder, text)[0].startswith(said)


def test_a_file_of_conversations_is_no_recipe(folder: Path) -> None:
    path = folder / "calls.jsonl"
    path.write_text('{"id": "1"}\n')
    with pytest.raises(InvalidConfig, match="descant train init .*calls.jsonl"):
        load_recipe(path)
    with pytest.raises(InvalidConfig, match="No such file"):
        load_recipe(folder / "missing.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match="not UTF-8"):
        load_recipe(path)


def test_a_first_recipe_is_read_as_it_was_meant(folder: Path) -> None:
    first = FirstRecipe(
        str(folder / "model"), folder / "asked", folder / "out", folder / "calls.jsonl", 0.2
    )
    path = folder / "first.toml"
    path.write_text(first.to_toml(folder))
    recipe = load_recipe(path)
    assert recipe == Recipe(
        base=str(folder / "model"),
        indicators=folder / "asked",
        output=folder / "out",
        data=DataSources(folder / "calls.jsonl", None, 0.2),
    )


def test_a_first_recipe_shows_every_number_with_its_default(folder: Path) -> None:
    first = FirstRecipe("org/model", folder / "asked", folder / "o", folder / "calls.jsonl", 0.1)
    lines = first.to_toml(folder).splitlines()
    begin = lines.index("[training]") + 2
    count = sum(value is not None for value in Hyperparameters().to_json().values())
    freed = [line.removeprefix("# ") for line in lines[begin : begin + count]]
    path = folder / "first.toml"
    path.write_text("\n".join([*lines[:begin], *freed, *lines[begin + count :]]))
    assert load_recipe(path).training == Hyperparameters()
    freed = [line.replace("# ", "") for line in lines if line.startswith(("# time", "# memory"))]
    path.write_text("\n".join([*lines, "[budget]", *freed]))
    assert load_recipe(path).budget == Budget(3600.0, 8_000_000_000)


def test_every_method_has_a_trainer_where_it_can_be_used() -> None:
    assert trainer_for("one_pass") is not trainer_for("lora")
    assert trainer_for("lora") is trainer_for("dora") is trainer_for("alora")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be used")
def test_a_method_that_needs_a_gpu_is_refused_without_one() -> None:
    with pytest.raises(InvalidConfig, match="QLoRA") as caught:
        trainer_for("qlora")
    assert caught.value.field == "method"


def test_any_limit_makes_a_budget() -> None:
    assert Budget(time_s=1.0).is_limited
    assert Budget(memory_bytes=1).is_limited
    assert not replace(Budget(time_s=1.0), time_s=None).is_limited
