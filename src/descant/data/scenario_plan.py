"""What is to happen in a sample call, drawn before a word of it is written.

Every label is drawn on its own, so that none can be guessed from another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

from descant.data.scenario_phrases import Industry, Issue, industries, value_lists

Verification = Literal["before", "after", "weak", "none_told", "refused"]
Upset = Literal["calm", "annoyed", "angry"]
Hold = Literal["none", "unasked", "asked"]
Closing = Literal["closed", "only_question", "only_goodbye", "abrupt"]

_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True)
class Plan:
    """The decisions behind one call."""

    industry: Industry
    issue: Issue
    values: Mapping[str, str]
    greeting: bool
    verification: Verification
    hold: Hold
    empathy: bool
    polite: bool
    upset: Upset
    solved: bool
    refund: bool
    escalated: bool
    callback: bool
    upsell: bool
    closing: Closing

    @property
    def tells(self) -> bool:
        """Whether the agent says anything from the account."""
        return self.verification in ("before", "after", "weak")

    def labels(self) -> dict[str, str | None]:
        """Return the label of every indicator, None where it does not apply."""
        return {
            "greeting": _yes(self.greeting),
            "identity_verified_before_disclosure": (
                _yes(self.verification == "before") if self.tells else None
            ),
            "hold_asked_for": self.hold,
            "empathy_shown": _yes(self.empathy),
            "refund_offered": _yes(self.refund),
            "problem_solved": _yes(self.solved),
            "escalation": _yes(self.escalated),
            "politeness": _yes(self.polite),
            "upsell": _yes(self.upsell),
            "script_closed": _yes(self.closing == "closed"),
            "caller_upset": self.upset,
            "callback_promised": _yes(self.callback),
        }


def draw_plan(rng: Random) -> Plan:
    """Return the decisions for one call."""
    industry = rng.choice(industries())
    return Plan(
        industry=industry,
        issue=rng.choice(industry.issues),
        values=_draw_values(rng, industry),
        greeting=rng.random() < 0.5,
        verification=_weighted(
            rng, {"before": 43, "weak": 22, "after": 17, "none_told": 9, "refused": 9}
        ),
        hold=_weighted(rng, {"asked": 36, "unasked": 32, "none": 32}),
        empathy=rng.random() < 0.47,
        polite=rng.random() < 0.55,
        upset=_weighted(rng, {"calm": 42, "annoyed": 31, "angry": 27}),
        solved=rng.random() < 0.5,
        refund=rng.random() < 0.42,
        escalated=rng.random() < 0.42,
        callback=rng.random() < 0.44,
        upsell=rng.random() < 0.42,
        closing=_weighted(
            rng, {"closed": 46, "only_question": 18, "only_goodbye": 18, "abrupt": 18}
        ),
    )


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def _weighted(rng: Random, weights: Mapping[_Choice, int]) -> _Choice:
    return rng.choices(list(weights), list(weights.values()))[0]


def _draw_values(rng: Random, industry: Industry) -> dict[str, str]:
    lists = value_lists()
    last, last2 = rng.sample(lists["lasts"], 2)
    first, first2 = rng.sample(lists["firsts"], 2)
    product, perk = rng.choice(industry.products)
    weekday, weekday2 = rng.sample(lists["weekdays"], 2)
    agent, colleague = rng.sample(lists["agents"], 2)
    ref = f"{rng.choice('ABCDEFGHKLMNPRSTVX')}{rng.choice('ABCDEFGHKLMNPRSTVX')}{_digits(rng, 5)}"
    hardship = rng.choice(lists["hardships"])
    return {
        "agent": agent, "colleague": colleague, "first": first, "first2": first2, "last": last,
        "last2": last2, "spelled": "-".join(last.upper()), "product": product, "perk": perk,
        "price": rng.choice(industry.prices), "company": rng.choice(industry.companies),
        "team": rng.choice(industry.teams), "weekday": weekday, "weekday2": weekday2,
        "ref": ref, "ref_part": ref[:3], "ref_num": _digits(rng, 5), "digits4": _digits(rng, 4),
        "digit": str(rng.randrange(10)), "room": f"{rng.randrange(1, 9)}{_digits(rng, 2)}",
        "city": rng.choice(lists["cities"]), "month": rng.choice(lists["months"]),
        "duration": rng.choice(lists["durations"]), "daypart": rng.choice(lists["dayparts"]),
        "secret": rng.choice(lists["secrets"]), "relative": rng.choice(lists["relatives"]),
        "plan": rng.choice(lists["plans"]), "feeling": rng.choice(lists["feelings"]),
        "hardship": hardship, "hardship_plain": f"when {hardship}",
        "email": f"{first.lower()}.{last.lower()}@{rng.choice(('mail', 'post', 'inbox'))}.example",
        "address": f"{rng.randrange(2, 180)} {rng.choice(lists['streets'])}",
        "postcode": f"{rng.choice('BCDEGKLMNRS')}{rng.randrange(1, 40)} {_digits(rng, 1)}XK",
        "dob": _draw_date(rng, lists["months"]) + f" {rng.randrange(1941, 2004)}",
        "date": _one_of(_draw_date(rng, lists["months"]) for _ in range(4)),
        "time": _one_of(_draw_time(rng) for _ in range(4)), "time2": _draw_time(rng),
        "code": _digits(rng, 6),
        "amount": _draw_amount(rng, 30, 900), "amount2": _draw_amount(rng, 5, 60),
    }  # fmt: skip


def _one_of(forms: Iterable[str]) -> str:
    """Return a choice that is made anew wherever the value is used."""
    return f"[{'|'.join(forms)}]"


def _digits(rng: Random, count: int) -> str:
    return "".join(str(rng.randrange(10)) for _ in range(count))


def _draw_date(rng: Random, months: tuple[str, ...]) -> str:
    day, month = rng.randrange(1, 29), rng.choice(months)
    return rng.choice((f"{day} {month}", f"{month} {day}", f"the {day}{_ordinal(day)} of {month}"))


def _ordinal(day: int) -> str:
    return {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if day not in (11, 12, 13) else 0, "th")


def _draw_time(rng: Random) -> str:
    hour = rng.randrange(1, 12)
    return rng.choice(
        (f"{hour}", f"half {hour}", f"{hour}:{rng.choice((15, 30, 45))}", f"{hour} pm")
    )


def _draw_amount(rng: Random, low: int, high: int) -> str:
    number = rng.randrange(low, high)
    forms = (f"£{number}", f"${number}", f"{number} euros", f"{number} pounds", f"{number} dollars")
    return rng.choice((*forms, f"{number}.{_digits(rng, 2)}"))
