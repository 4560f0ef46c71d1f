"""Small conversations for the tests of this room and hypothesis strategies for arbitrary ones."""

from __future__ import annotations

from hypothesis import strategies as st

from descant.schema import Indicator, LabelledTranscript, Transcript, Turn


def yes_no(name: str) -> Indicator:
    return Indicator(name, f"Is it {name}?", ("no", "yes"), ("yes",), "binary", name)


def call(
    call_id: str, *texts: str, labels: dict[str, str | None] | None = None
) -> LabelledTranscript:
    speakers = ("agent", "customer")
    turns = tuple(Turn(speakers[at % 2], text) for at, text in enumerate(texts or ("Hello.",)))
    return LabelledTranscript(Transcript(call_id, turns), labels or {})


_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
texts = st.text(st.one_of(_CHARACTERS, st.sampled_from("\n\t")), max_size=40)
speakers = st.text(st.characters(categories=["L", "N", "P"]), max_size=10)
ids = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
labels = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["yes", "no", None]))


@st.composite
def rows(draw: st.DrawFn) -> LabelledTranscript:
    turns = draw(st.lists(st.builds(Turn, speakers, texts), max_size=4))
    spoken = Turn("agent", draw(texts) + "ok")
    said = draw(labels)
    labelled = [name for name, label in said.items() if label is not None]
    share = draw(st.floats(0, 1))
    return LabelledTranscript(
        Transcript(draw(ids), (*turns, spoken)),
        said,
        {name: {"yes": share, "no": 1 - share} for name in labelled if draw(st.booleans())},
        {name: draw(st.floats(0.1, 2)) for name in labelled if draw(st.booleans())},
    )


many_rows = st.lists(rows(), max_size=6, unique_by=lambda row: row.transcript.id)
