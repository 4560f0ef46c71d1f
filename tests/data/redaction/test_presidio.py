from __future__ import annotations

import sys

import pytest

from descant.data import PresidioConfig, PresidioFinder, Redactor
from descant.schema.errors import InvalidConfig, MissingDependency
from tests.data.redaction.test_numbers import conversation, texts_of


def test_without_presidio_the_remedy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingDependency) as caught:
        PresidioFinder()
    assert caught.value.remedy == "Install it: pip install 'descant[presidio]'"


def test_a_score_that_is_no_share_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="min_score"):
        PresidioConfig(min_score=2)


@pytest.fixture
def presidio() -> PresidioFinder:
    pytest.importorskip("presidio_analyzer")
    return PresidioFinder()


@pytest.mark.filterwarnings("default")
def test_patterns_need_no_model_and_no_network(presidio: PresidioFinder) -> None:
    said = "Card 4111 1111 1111 1111 from 192.168.17.4, jane@example.com, order 4827193046."
    clean = Redactor(more=(presidio,)).redact(conversation(said))
    assert texts_of(clean.transcript) == [
        "Card [CARD_1] from [IP_ADDRESS_1], [MAIL_1], order 4827193046."
    ]
    assert clean.counts == {"card": 1, "ip_address": 1, "mail": 1}


@pytest.mark.filterwarnings("default")
def test_a_pipeline_that_is_not_installed_is_not_fetched() -> None:
    pytest.importorskip("presidio_analyzer")
    with pytest.raises(MissingDependency, match="no_such_pipeline"):
        PresidioFinder(PresidioConfig(spacy_model="no_such_pipeline"))
