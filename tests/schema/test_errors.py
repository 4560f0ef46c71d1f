from __future__ import annotations

from descant.schema.errors import DuplicateId, InvalidData, join_errors


def test_a_single_error_stays_as_it_is() -> None:
    error = DuplicateId("Twice.", field="id")
    assert join_errors([error]) is error


def test_several_errors_are_listed_one_a_line_with_their_remedies() -> None:
    errors = [DuplicateId("Twice.", field="id", remedy="Mend it."), InvalidData("Wrong.")]
    joined = join_errors(errors)
    assert type(joined) is DuplicateId
    assert joined.field == "id"
    assert str(joined) == "2 mistakes.\nTwice. Mend it.\nWrong."


def test_beyond_twenty_only_their_number_is_said() -> None:
    lines = str(join_errors([InvalidData(f"Wrong {at}.") for at in range(23)])).splitlines()
    assert lines[0] == "23 mistakes."
    assert lines[1:21] == [f"Wrong {at}." for at in range(20)]
    assert lines[21:] == ["... and 3 more."]
