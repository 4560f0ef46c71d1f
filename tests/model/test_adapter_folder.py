from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.model import (
    LoraAdapter,
    ModelConfig,
    SingleAdapter,
    Transformer,
    content_hash,
    load_adapter,
    load_model,
    save_adapter,
)
from descant.schema.errors import AdapterNotFound, DescantError, InvalidAdapter, StorageFull
from tests.model.reference import hf_model, our_logits, save_hf_model, token_ids
from tests.tiny import tiny_adapter, tiny_config

# PEFT calls names that transformers 5 is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
INVOCATION = [7, 8, 9]
FIRST_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
FIRST_MAGNITUDE = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_hf_model(hf_model("smollm2"), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Transformer:
    return load_model(base_folder, torch.float32).model


def peft_model(seed: int = 5, family: str = "smollm2", **settings: Any) -> Any:
    chosen = {"target_modules": MODULES, "r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
    model = peft.get_peft_model(hf_model(family), peft.LoraConfig(**chosen | settings)).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(0.5 + torch.rand_like(weight))
            elif "lora_" in name:
                weight.copy_(0.3 * torch.randn_like(weight))
    return model


def peft_folder(folder: Path, **settings: Any) -> Path:
    peft_model(**settings).save_pretrained(folder)
    return folder


def peft_logits(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(input_ids=ids[None]).logits[0]
    return logits


def adapted_logits(base: Transformer, adapter: LoraAdapter, ids: Tensor) -> Tensor:
    start = adapter.first_active(ids.tolist())
    active = torch.arange(len(ids)) >= (len(ids) if start is None else start)
    return our_logits(base, ids, SingleAdapter(adapter, base.config, active))


def invoked_ids() -> Tensor:
    """Tokens with the invocation twice: only the last one counts."""
    ids = token_ids(60)
    ids[10:13] = ids[40:43] = torch.tensor(INVOCATION)
    return ids


@pytest.mark.parametrize(
    "settings",
    [
        *({"target_modules": [module]} for module in MODULES),
        {},
        {"r": 16, "use_rslora": True},
        {"target_modules": r".*\.1\.(self_attn\.[qv]_proj|mlp\.down_proj)"},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
        {"exclude_modules": ["model.layers.0.self_attn.q_proj", "up_proj"]},
        {"rank_pattern": {"k_proj": 6, r"layers\.1\.mlp\..*": 2}},
        {"alpha_pattern": {"model.layers.0.self_attn.o_proj": 3, "down_proj": 20}},
        {"rank_pattern": {"v_proj": 6}, "alpha_pattern": {"v_proj": 20}, "use_rslora": True},
        {"alora_invocation_tokens": INVOCATION},
        {"alora_invocation_tokens": INVOCATION, "use_rslora": True, "rank_pattern": {"q_proj": 7}},
        {"use_dora": True},
        {"use_dora": True, "target_modules": ["k_proj", "up_proj"], "layers_to_transform": [1]},
    ],
    ids=str,
)
def test_outputs_equal_peft(settings: dict[str, Any], base: Transformer, tmp_path: Path) -> None:
    model = peft_model(**settings)
    model.save_pretrained(tmp_path)
    adapter = load_adapter(tmp_path, base.config, model=base)
    ids = invoked_ids()
    expected = peft_logits(model, ids)
    assert (expected - our_logits(base, ids)).abs().max() > 0.05  # the adapter does something
    assert (adapted_logits(base, adapter, ids) - expected).abs().max() <= 1e-4


def test_without_its_invocation_an_adapter_is_the_base(base: Transformer, tmp_path: Path) -> None:
    model = peft_model(alora_invocation_tokens=INVOCATION)
    model.save_pretrained(tmp_path)
    adapter, ids = load_adapter(tmp_path, base.config), token_ids(30)
    assert (adapted_logits(base, adapter, ids) - peft_logits(model, ids)).abs().max() <= 1e-4
    assert torch.equal(adapted_logits(base, adapter, ids), our_logits(base, ids))


def test_old_files_start_one_token_later(base: Transformer, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path, alora_invocation_tokens=INVOCATION)
    adapter = load_adapter(folder, base.config, activation_delay=1)
    assert adapter.first_active(invoked_ids().tolist()) == 41
    assert adapter.content_hash != load_adapter(folder, base.config).content_hash


@pytest.mark.parametrize("tokens", [None, tuple(INVOCATION)])
def test_peft_reads_what_we_write(
    tokens: tuple[int, ...] | None, base: Transformer, base_folder: Path, tmp_path: Path
) -> None:
    read = load_adapter(
        peft_folder(tmp_path / "made", rank_pattern={"v_proj": 6}, alpha_pattern={"o_proj": 3}),
        base.config,
    )
    changes = {
        "invocation_tokens": tokens,
        "activation": "start" if tokens is None else "invocation",
    }
    adapter = LoraAdapter(**{**read.__dict__, **changes})
    save_adapter(tmp_path / "ours", adapter, str(base_folder))
    model = peft.PeftModel.from_pretrained(hf_model("smollm2"), tmp_path / "ours").eval()
    ids = invoked_ids()
    expected = peft_logits(model, ids)
    assert (adapted_logits(base, adapter, ids) - expected).abs().max() <= 1e-4
    again = load_adapter(tmp_path / "ours", base.config)
    assert again.content_hash == content_hash(adapter.weights, tokens)


def test_an_adapter_on_some_modules_of_some_layers_survives_writing(tmp_path: Path) -> None:
    config = tiny_config()
    whole = tiny_adapter(config, 0)
    some = {place: whole.weights[place] for place in [(0, "q_proj"), (1, "q_proj"), (1, "up_proj")]}
    adapter = LoraAdapter(**{**whole.__dict__, "weights": some})
    save_adapter(tmp_path / "some", adapter)
    again = load_adapter(tmp_path / "some", config)
    assert set(again.weights) == set(some)
    assert all(torch.equal(again.weights[place].b, some[place].b) for place in some)


def test_biases_are_not_scaled_by_dora(tmp_path: Path) -> None:
    qwen = hf_model("qwen2")
    base = load_model(save_hf_model(qwen, tmp_path / "base"), torch.float32).model
    model = peft_model(family="qwen2", use_dora=True)
    model.save_pretrained(tmp_path / "dora")
    adapter = load_adapter(tmp_path / "dora", base.config, model=base)
    ids = token_ids(60)
    expected = peft_logits(model, ids)
    assert (expected - our_logits(base, ids)).abs().max() > 0.05
    assert (adapted_logits(base, adapter, ids) - expected).abs().max() <= 1e-4


def test_peft_reads_the_magnitudes_we_write(base: Transformer, tmp_path: Path) -> None:
    adapter = load_adapter(
        peft_folder(tmp_path / "made", use_dora=True, target_modules=["q_proj", "down_proj"]),
        base.config,
        model=base,
    )
    save_adapter(tmp_path / "ours", adapter)
    model = peft.PeftModel.from_pretrained(hf_model("smollm2"), tmp_path / "ours").eval()
    ids = token_ids(60)
    assert (adapted_logits(base, adapter, ids) - peft_logits(model, ids)).abs().max() <= 1e-4
    again = load_adapter(tmp_path / "ours", base.config, model=base)
    assert again.content_hash == adapter.content_hash


def test_dora_needs_the_weights_of_the_base(base_folder: Path, tmp_path: Path) -> None:
    base = load_model(base_folder, torch.float32).model
    folder = peft_folder(tmp_path, use_dora=True)
    with pytest.raises(InvalidAdapter, match="not given"):
        load_adapter(folder, base.config)
    base.quantize("int8")
    with pytest.raises(InvalidAdapter, match=r"kept in int8.*not quantized") as caught:
        load_adapter(folder, base.config, model=base)
    assert caught.value.field == "use_dora"


def test_the_hash_is_of_content_and_not_of_names(base: Transformer, tmp_path: Path) -> None:
    first = peft_folder(tmp_path / "one")
    hashes = {
        "as it is": load_adapter(first, base.config).content_hash,
        "under another name": load_adapter(first, base.config, name="other").content_hash,
        "in another type": load_adapter(first, base.config, torch.bfloat16).content_hash,
        "in another folder": load_adapter(peft_folder(tmp_path / "two"), base.config).content_hash,
        "without effect": load_adapter(
            peft_folder(tmp_path / "three", lora_dropout=0.5), base.config
        ).content_hash,
    }
    assert len(set(hashes.values())) == 1, hashes
    others: list[dict[str, Any]] = [
        {"seed": 6},
        {"lora_alpha": 9},
        {"alora_invocation_tokens": INVOCATION},
        {"use_dora": True},
    ]
    for index, settings in enumerate(others):
        folder = peft_folder(tmp_path / f"other-{index}", **settings)
        other = load_adapter(folder, base.config, model=base)
        assert other.content_hash not in hashes.values(), settings


def _set(**settings: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def _tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        (folder / WEIGHTS).unlink()
        save_file(tensors, folder / WEIGHTS)

    return rewrite


def _fill(value: float) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors[FIRST_A][1, 2:3].fill_(value)


def _truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def _pickle(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(tensors, folder / WEIGHTS)


BAD = {
    "peft_type": (_set(peft_type="IA3"), "peft_type"),
    "task type": (_set(task_type="SEQ_CLS"), "task_type"),
    "bias": (_set(bias="all"), "bias"),
    "dora without magnitudes": (_set(use_dora=True), FIRST_MAGNITUDE),
    "activated dora": (_set(use_dora=True, alora_invocation_tokens=[7]), "use_dora"),
    "modules to save": (_set(modules_to_save=["lm_head"]), "modules_to_save"),
    "fan in fan out": (_set(fan_in_fan_out=True), "fan_in_fan_out"),
    "replicated layers": (_set(layer_replication=[[0, 2], [1, 2]]), "layer_replication"),
    "a later setting": (_set(use_next_years_variant=True), "use_next_years_variant"),
    "changed base": (_set(init_lora_weights="pissa"), "init_lora_weights"),
    "rank": (_set(r=0), "r"),
    "rank as text": (_set(r="4"), "r"),
    "alpha": (_set(lora_alpha="8"), "lora_alpha"),
    "alpha not a number": (_set(lora_alpha=math.nan), "lora_alpha"),
    "rank pattern": (_set(rank_pattern={"q_proj": -1}), "rank_pattern"),
    "no pattern": (_set(alpha_pattern={"(": 1}), "alpha_pattern"),
    "no targets": (_set(target_modules=None), "target_modules"),
    "other targets": (_set(target_modules=["c_attn"]), "target_modules"),
    "bad regex": (_set(target_modules="(q_proj"), "target_modules"),
    "excluded number": (_set(exclude_modules=3), "exclude_modules"),
    "layer as text": (_set(layers_to_transform=["1"]), "layers_to_transform"),
    "other layers": (_set(layers_to_transform=[1], layers_pattern="h"), "layers_pattern"),
    "lm head": (_set(target_modules=["q_proj", "lm_head"]), "target_modules"),
    "empty invocation": (_set(alora_invocation_tokens=[]), "alora_invocation_tokens"),
    "invocation text": (_set(alora_invocation_tokens=["a"]), "alora_invocation_tokens"),
    "invocation id": (_set(alora_invocation_tokens=[10**6]), "alora_invocation_tokens"),
    "not json": (lambda folder: (folder / CONFIG).write_text("{"), CONFIG),
    "no settings": (lambda folder: (folder / CONFIG).unlink(), CONFIG),
    "a list": (lambda folder: (folder / CONFIG).write_text("[]"), CONFIG),
    "nan": (_tensors(_fill(math.nan)), FIRST_A),
    "infinity": (_tensors(_fill(-math.inf)), FIRST_A),
    "integers": (_tensors(lambda t: t.update({FIRST_A: t[FIRST_A].int()})), FIRST_A),
    "eight bits": (
        _tensors(lambda t: t.update({FIRST_A: t[FIRST_A].to(torch.float8_e4m3fn)})),
        FIRST_A,
    ),
    "partner missing": (_tensors(lambda t: t.pop(FIRST_A)), FIRST_A),
    "shape": (_tensors(lambda t: t.update({FIRST_A: torch.zeros(4, 65)})), FIRST_A),
    "other rank": (_tensors(lambda t: t.update({FIRST_A: torch.zeros(5, 64)})), FIRST_A),
    "left over": (_tensors(lambda t: t.update({"more": torch.zeros(1)})), "more"),
    "truncated": (_truncate, WEIGHTS),
    "empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), WEIGHTS),
    "pickle inside": (_pickle, WEIGHTS),
    "missing": (lambda folder: (folder / WEIGHTS).unlink(), WEIGHTS),
    "bin": (
        lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.bin"),
        "adapter_model.bin",
    ),
    "pickle beside": (
        lambda folder: (folder / "training_args.bin").write_bytes(b"\x80"),
        "training_args.bin",
    ),
    "broken manifest": (
        lambda folder: (folder / "manifest.json").write_text("{"),
        "manifest.json",
    ),
}


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_folder(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_refused_by_file_and_field(
    case: str, good_folder: Path, base: Transformer, tmp_path: Path
) -> None:
    for path in good_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    load_adapter(tmp_path, base.config)
    spoil, field = BAD[case]
    spoil(tmp_path)
    with pytest.raises(InvalidAdapter) as caught:
        load_adapter(tmp_path, base.config)
    assert caught.value.field == field
    assert field in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_shape_error_tells_what_was_expected(good_folder: Path) -> None:
    with pytest.raises(
        InvalidAdapter, match=r"lora_A.weight has shape \(4, 64\), expected \(4, 32\)"
    ):
        load_adapter(good_folder, tiny_config())


def test_more_layers_than_the_base_has_are_refused(good_folder: Path, base: Transformer) -> None:
    one_layer = ModelConfig(**{**base.config.__dict__, "num_layers": 1})
    with pytest.raises(InvalidAdapter, match=r"layers\.1\..*is not called for"):
        load_adapter(good_folder, one_layer)


def test_an_adapter_of_another_base_is_refused(
    good_folder: Path, base: Transformer, tmp_path: Path
) -> None:
    adapter = load_adapter(good_folder, base.config)
    save_adapter(tmp_path / "a", adapter, documents={"manifest.json": {"base_hash": "sha256:1"}})
    assert load_adapter(tmp_path / "a", base.config, base_hash="sha256:1").base_hash == "sha256:1"
    assert load_adapter(tmp_path / "a", base.config).base_hash == "sha256:1"
    with pytest.raises(InvalidAdapter) as caught:
        load_adapter(tmp_path / "a", base.config, base_hash="sha256:2")
    assert caught.value.field == "base_hash"


def test_a_missing_folder_is_not_found(base: Transformer, tmp_path: Path) -> None:
    with pytest.raises(AdapterNotFound, match="nowhere"):
        load_adapter(tmp_path / "nowhere", base.config)


def test_a_full_disk_leaves_the_older_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny_config(), tmp_path / "adapter"
    save_adapter(folder, tiny_adapter(config, 0))
    before = load_adapter(folder, config)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull):
        save_adapter(folder, tiny_adapter(config, 1))
    assert load_adapter(folder, config).content_hash == before.content_hash
    assert not list(tmp_path.glob(".adapter.partial-*"))


def test_the_format_cannot_hold_a_late_start(tmp_path: Path) -> None:
    late = LoraAdapter(**{**tiny_adapter(tiny_config(), 0).__dict__, "activation_delay": 1})
    with pytest.raises(DescantError) as caught:
        save_adapter(tmp_path / "late", late)
    assert caught.value.field == "activation_delay" and not (tmp_path / "late").exists()


def test_weights_stay_as_they_were_read_when_the_file_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "refund"
    save_adapter(folder, tiny_adapter(tiny_config(), 1))
    adapter = load_adapter(folder, tiny_config())
    before = {place: (pair.a.clone(), pair.b.clone()) for place, pair in adapter.weights.items()}
    # In place, as PEFT does: the same file, not a new one of the same name.
    (folder / WEIGHTS).write_bytes(bytes((folder / WEIGHTS).stat().st_size))
    for place, (a, b) in before.items():
        assert torch.equal(adapter.weights[place].a, a)
        assert torch.equal(adapter.weights[place].b, b)
