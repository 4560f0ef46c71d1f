from __future__ import annotations

from datetime import UTC, datetime

import pytest

from descant.schema.errors import InputError, InvalidModel
from descant.text import ChatTemplate
from descant.text.chat_template import ContentSlot


def clock() -> datetime:
    return datetime(2031, 5, 6, tzinfo=UTC)


def render(source: str, *roles: str, prompt: bool = False) -> list[str | ContentSlot]:
    rendered = ChatTemplate(source, {"bos_token": "<s>"}).render(roles, clock, prompt)
    return [*rendered.body, rendered.ending]


def test_contents_become_slots_between_the_texts() -> None:
    source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}"
    assert render(source, "user", "assistant") == [
        "<s>[user]",
        ContentSlot(0, False, False),
        ".[assistant]",
        ContentSlot(1, False, False),
        ".",
    ]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m.content | trim", "x"),
        ("m.content.strip()", "x"),
        ("m.content.lstrip()", "x \n"),
        ("m.content.rstrip()", " x"),
        ("m.content", " x \n"),
    ],
)
def test_contents_are_trimmed_as_the_template_trims_them(expression: str, expected: str) -> None:
    slot = render(f"{{% for m in messages %}}{{{{ {expression} }}}}{{% endfor %}}", "user")[1]
    assert isinstance(slot, ContentSlot)
    assert slot.fill(" x \n") == expected


def test_dates_come_from_the_clock() -> None:
    source = "{{ strftime_now('%d %b %Y') }}{{ messages[0].content }}"
    assert render(source, "user")[0] == "06 May 2031"


def test_blocks_leave_no_lines_and_loops_can_stop() -> None:
    source = """
    {%- for m in messages %}
        {%- if loop.index > 1 %}{% break %}{% endif %}
        {% generation %}
{{ m.content }}
        {% endgeneration %}
    {%- endfor %}
    {{- messages | length | tojson }}"""
    assert render(source, "user")[-1] == "\n1"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'nothing' }}",
        "{{ messages[0].content }}{{ messages[0].content }}",
        "{{ messages[0].content | upper | replace('\ue001', '') }}",
        "{{ messages[0].content[:3] }}",
        "{{ messages[0].nothing.here }}",
        "{{ messages[0].__class__.__mro__ }}{{ messages[0].content }}",
        "{{ messages.clear() }}",
        "{% for x in range(10000000) %}{% endfor %}{{ messages[0].content }}",
        "{% if %}",
    ],
)
def test_templates_that_damage_contents_or_fail_are_refused(source: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        render(source, "user")
    assert caught.value.field == "chat_template"


def test_a_refusal_by_the_template_is_the_callers_mistake() -> None:
    with pytest.raises(InputError, match="only users") as caught:
        render("{{ raise_exception('only users') }}", "system")
    assert caught.value.field == "messages"
    assert not isinstance(caught.value, InvalidModel)
