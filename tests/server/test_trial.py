"""Challengers on live traffic: mirrored without anybody seeing it, or answering a share."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from descant.llm import LLM
from descant.schema import Indicator, Scorecard, load_indicators, unanswered
from descant.schema.errors import InvalidConfig
from descant.server import Trial, TrialConfig, create_app
from tests.server.served import serve_tiny, write_adapter

Tried = tuple[LLM, tuple[Indicator, ...], str, str]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """A champion for each indicator and a challenger of ``polite``, with the hashes of these two."""
    place = tmp_path_factory.mktemp("trial")
    llm, _ = serve_tiny(place)
    trained = load_indicators(place / "indicators")
    [polite] = [each for each in trained if each.name == "polite"]
    write_adapter(place / "second", llm, 11, polite)
    llm.library.follow("polite@challenger", place / "second", "sha256:" + "1" * 64)
    champion, challenger = (
        llm.adapter(name).content_hash for name in ("polite", "polite@challenger")
    )
    assert champion != challenger
    return llm, trained, champion, challenger


def ask(
    tried: Tried, count: int, registry: CollectorRegistry | None = None, **config: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Trial]:
    """Score so many conversations; return the answers about ``polite``, the records and the trial."""
    llm, indicators, *_ = tried
    log = io.StringIO()
    trial = Trial(TrialConfig(**config), log, llm.has_adapter)
    app = create_app(llm, indicators, registry=registry or CollectorRegistry(), trial=trial)

    async def exchange() -> list[httpx.Response]:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return [
                    await client.post("/v1/scores", json={"conversation": conversation(at)})
                    for at in range(count)
                ]

    told = asyncio.run(exchange())
    assert [response.status_code for response in told] == [200] * count
    answers = [{a["indicator"]: a for a in response.json()["answers"]} for response in told]
    return (
        [each["polite"] for each in answers],
        [json.loads(line) for line in log.getvalue().splitlines()],
        trial,
    )


def conversation(at: int) -> dict[str, Any]:
    return {"id": f"call-{at}", "turns": [{"speaker": "agent", "text": f"secret words {at}"}]}


def test_a_shadow_is_asked_and_never_answers(tried: Tried) -> None:
    _, _, champion, challenger = tried
    answers, records, _ = ask(tried, 6, shadow_share=1.0)
    assert {answer["adapter"]["content_hash"] for answer in answers} == {champion}
    assert len(records) == 6
    for answer, record in zip(answers, records, strict=True):
        assert record["indicator"] == "polite"
        assert record["answered_by"] == "champion"
        assert record["champion"]["label"] == answer["label"]
        assert record["champion"]["adapter"] == champion
        assert record["challenger"]["adapter"] == challenger
        assert record["agree"] == (record["champion"]["label"] == record["challenger"]["label"])


def test_what_was_said_is_not_written_down(tried: Tried) -> None:
    _, records, _ = ask(tried, 2, shadow_share=1.0)
    text = json.dumps(records)
    assert "secret" not in text
    assert "call-" not in text


def test_a_canary_answers_its_share_and_is_compared_with_the_champion(tried: Tried) -> None:
    _, _, champion, challenger = tried
    answers, records, trial = ask(tried, 40, canary_share=0.4)
    hashes = [answer["adapter"]["content_hash"] for answer in answers]
    dealt = [trial.course(f"call-{at}", "").answered_by for at in range(40)]
    assert hashes == [challenger if side == "challenger" else champion for side in dealt]
    assert 0 < Counter(hashes)[challenger] < 40
    assert len(records) == Counter(hashes)[challenger]
    assert {record["answered_by"] for record in records} == {"challenger"}
    assert {record["champion"]["adapter"] for record in records} == {champion}


def test_without_a_share_or_a_challenger_nothing_is_mirrored(tried: Tried) -> None:
    assert ask(tried, 3)[1] == []
    assert ask(tried, 3, shadow_share=1.0, alias="other")[1] == []


def test_more_mirrors_than_may_wait_are_left_out_and_counted(tried: Tried) -> None:
    _, records, trial = ask(tried, 3, shadow_share=1.0, max_waiting=0)
    assert records == []
    assert trial.num_left_out == 3


def counted(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """What `/metrics` says of trials, by indicator and outcome."""
    samples = [each for family in registry.collect() for each in family.samples]
    return {
        (each.labels["indicator"], each.labels["outcome"]): each.value
        for each in samples
        if each.name == "descant_trial_answers_total"
    }


def test_metrics_count_what_the_log_says(tried: Tried) -> None:
    registry = CollectorRegistry()
    _, records, _ = ask(tried, 12, registry, shadow_share=1.0)
    agreed = sum(record["agree"] for record in records)
    expected = {("polite", "agree"): agreed, ("polite", "disagree"): 12 - agreed}
    assert counted(registry) == {key: count for key, count in expected.items() if count}


def test_metrics_count_what_was_left_out(tried: Tried) -> None:
    registry = CollectorRegistry()
    ask(tried, 3, registry, shadow_share=1.0, max_waiting=0)
    assert counted(registry) == {("polite", "left_out"): 3}


@pytest.mark.parametrize(
    ("side", "outcome"),
    [
        ("polite", "champion_unanswered"),
        ("polite@challenger", "challenger_unanswered"),
        ("both", "both_unanswered"),
    ],
)
def test_metrics_tell_who_gave_no_answer(
    tried: Tried, monkeypatch: pytest.MonkeyPatch, side: str, outcome: str
) -> None:
    llm, registry = tried[0], CollectorRegistry()
    whole = llm.scorecard

    def silent(plan: Any, *given: Any) -> Scorecard:
        card = whole(plan, *given)
        hashes = {llm.adapter(name).content_hash: name for name in ("polite", "polite@challenger")}
        answers = tuple(
            unanswered(each.indicator, "too long")
            if each.indicator == "polite"
            and each.adapter is not None
            and side in ("both", hashes[each.adapter.content_hash])
            else each
            for each in card.answers
        )
        return replace(card, answers=answers)

    monkeypatch.setattr(llm, "scorecard", silent)
    ask(tried, 2, registry, shadow_share=1.0)
    assert counted(registry) == {("polite", outcome): 2}


def test_a_mirror_that_fails_is_said_and_fails_nobody(
    tried: Tried, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = tried[0]
    plan, asked = llm.plan, []

    def failing(transcript: Any, indicators: Any, **more: Any) -> Any:
        asked.append([each.adapter for each in indicators])
        if asked[-1] == ["polite@challenger"]:
            raise RuntimeError("a broken challenger")
        return plan(transcript, indicators, **more)

    monkeypatch.setattr(llm, "plan", failing)
    registry = CollectorRegistry()
    answers, records, _ = ask(tried, 2, registry, shadow_share=1.0)
    assert all(answer["label"] for answer in answers)
    assert records == []
    assert counted(registry) == {("polite", "failed"): 2}
    assert "a broken challenger" in caplog.text


def test_a_conversation_or_a_tenant_always_goes_the_same_way() -> None:
    by_call = Trial(TrialConfig(canary_share=0.5), io.StringIO(), lambda name: True)
    by_tenant = Trial(TrialConfig(canary_share=0.5, by="tenant"), io.StringIO(), lambda name: True)
    ids = [f"call-{at}" for at in range(400)]
    assert [by_call.course(id, "a") for id in ids] == [by_call.course(id, "b") for id in ids]
    share = sum(by_call.course(id, "").answered_by == "challenger" for id in ids) / len(ids)
    assert 0.4 < share < 0.6
    assert len({by_tenant.course(id, "acme") for id in ids}) == 1
    assert len({by_tenant.course("x", f"tenant-{at}") for at in range(50)}) == 2


@pytest.mark.parametrize("name", ["shadow_share", "canary_share"])
def test_a_share_is_a_share(name: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        TrialConfig(**{name: 1.5})
    assert caught.value.field == name
