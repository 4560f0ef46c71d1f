"""A grammar of telephone calls: varied, natural, with labels by construction.

A call is planned first (`scenario_plan`), then acted out stage by stage with forms from the phrase
banks (`scenario_phrases`), then roughened (`scenario_noise`). Where the plan says no, there is
often something that looks like a yes: a refund asked for and refused, a check made too late.
"""

from __future__ import annotations

from random import Random

from descant.data.scenario_noise import draw_style, roughen
from descant.data.scenario_phrases import Said, Voice, phrase_banks
from descant.data.scenario_plan import Plan, draw_plan
from descant.schema import LabelledTranscript, Transcript, Turn

_MIN_TURNS, _MAX_TURNS = 8, 30
_MIN_WORDS, _MAX_WORDS = 120, 450
_NAMES = (("agent", "customer"), ("agent", "caller"), ("Agent", "Customer"), ("rep", "customer"))
_NEAR_MISS = 0.6
"""How often a no comes with something that resembles a yes."""


def generate_calls(count: int, seed: int) -> list[LabelledTranscript]:
    """Return `count` calls; the same count and seed always give the same calls.

    The calls of a smaller count are the first ones of a larger count.
    """
    return [_generate_call(f"sample-{seed}-{number:05d}", seed, number) for number in range(count)]


def _generate_call(call_id: str, seed: int, number: int) -> LabelledTranscript:
    rng = Random(f"descant sample call {seed} {number}")
    while True:
        plan = draw_plan(rng)
        turns = _written_down(_act(plan, rng), rng)
        words = sum(len(turn.text.split()) for turn in turns)
        if _MIN_TURNS <= len(turns) <= _MAX_TURNS and _MIN_WORDS <= words <= _MAX_WORDS:
            return LabelledTranscript(Transcript(call_id, turns), plan.labels())


def _written_down(said: list[Said], rng: Random) -> tuple[Turn, ...]:
    agent, customer = rng.choices(_NAMES, (55, 15, 15, 15))[0]
    styles = {"agent": draw_style(rng), "customer": draw_style(rng)}
    turns: list[Turn] = []
    for speaker, text in (roughen(each, styles[each[0]], rng) for each in said):
        name = agent if speaker == "agent" else customer
        apart = text.startswith("(") or bool(turns and turns[-1].text.startswith("("))
        if turns and turns[-1].speaker == name and not apart:
            turns[-1] = Turn(name, f"{turns[-1].text} {text}")
        else:
            turns.append(Turn(name, text))
    return tuple(turns)


def _act(plan: Plan, rng: Random) -> list[Said]:
    voice = Voice(rng, plan.values, upset=plan.upset != "calm")
    opening = _opening(plan, voice)
    middle = _middle(plan, voice)
    late = _late(plan, voice)
    exchanges = _interleave(opening, middle, late, rng)
    _sprinkle(exchanges, plan, voice)
    closing = voice.say(_bank(plan.closing))
    return [said for exchange in [*exchanges, closing] for said in exchange]


def _bank(name: str) -> tuple[str, ...]:
    return phrase_banks()[name]


def _opening(plan: Plan, voice: Voice) -> list[list[Said]]:
    greeting = voice.say(_bank("greeting" if plan.greeting else "greeting_missing"))
    problem = voice.say(plan.issue.banks["problem"])
    if voice.rng.random() < 0.75:
        problem = voice.say(_bank("customer_hello")) + problem
    tails = 2 if plan.upset == "angry" or voice.rng.random() < 0.3 else 1
    for _ in range(tails):
        problem += voice.say(_bank(f"{plan.upset}_tail"))
    if _chance(voice, 0.45):
        problem.insert(len(problem) - 1, *voice.say(_bank("story")))
    return [greeting, problem]


def _middle(plan: Plan, voice: Voice) -> list[list[Said]]:
    """Checking, telling and explaining, in the order the plan asks for."""
    told: list[Said] = []
    if plan.tells:
        told = voice.say(_bank("disclosure_lead")) + [
            ("agent", text) for _, text in voice.say(plan.issue.banks["disclose"])
        ]
        if voice.rng.random() < 0.5:
            told += voice.say(_bank("account_extra"))
    told += voice.say(_bank(f"{plan.upset}_remark"))
    explained = voice.say(plan.issue.banks["general"])
    check = {
        "before": "check", "after": "late_check", "weak": "weak_check",
        "none_told": "weak_check", "refused": "refuse_disclosure",
    }[plan.verification]  # fmt: skip
    if plan.verification == "none_told" or (plan.verification == "weak" and _chance(voice, 0.35)):
        return [told, explained]
    if plan.verification == "after":
        return [told, voice.say(_bank(check)), explained]
    return [voice.say(_bank(check)), told, explained]


def _late(plan: Plan, voice: Voice) -> list[list[Said]]:
    """What may come in any order once the problem is known; the outcome is the first one."""
    outcome = voice.say(plan.issue.banks["solved" if plan.solved else "unsolved"])
    outcome += voice.say(_bank("solved_yes" if plan.solved else "solved_no"))
    late = [outcome]
    late += _act_or_near_miss(plan.refund, "refund", "refund_missing", voice)
    done = "escalation_done" if plan.solved else "escalation_open"
    late += _act_or_near_miss(plan.escalated, done, "escalation_missing", voice)
    late += _act_or_near_miss(plan.callback, "callback", "callback_missing", voice)
    late += _act_or_near_miss(plan.upsell, "upsell", "upsell_missing", voice)
    return late


def _act_or_near_miss(happens: bool, act: str, near_miss: str, voice: Voice) -> list[list[Said]]:
    if happens:
        return [voice.say(_bank(act))]
    return [voice.say(_bank(near_miss))] if _chance(voice, _NEAR_MISS) else []


def _interleave(
    opening: list[list[Said]], middle: list[list[Said]], late: list[list[Said]], rng: Random
) -> list[list[Said]]:
    outcome, *others = late
    rng.shuffle(others)
    others.insert(rng.randrange(min(2, len(others)) + 1), outcome)
    return [*opening, *middle, *others]


def _sprinkle(exchanges: list[list[Said]], plan: Plan, voice: Voice) -> None:
    """Put in what can come anywhere after the problem was told."""
    for _ in range(voice.rng.choice((1, 2)) if plan.empathy else 0):
        _insert(exchanges, voice.say(_bank("empathy")), voice)
    if not plan.empathy or _chance(voice, 0.2):
        _insert(exchanges, voice.say(_bank("empathy_missing")), voice)
    if plan.hold != "none":
        _insert(exchanges, voice.say(_bank(f"hold_{plan.hold}")), voice)
    if plan.hold == "none" or _chance(voice, 0.3):
        _insert(exchanges, voice.say(_bank("no_hold")), voice)
    for _ in range(0 if plan.polite else voice.rng.choice((2, 2, 3))):
        _insert(exchanges, voice.say(_bank("rude")), voice)
    if plan.polite and _chance(voice, 0.6):
        _insert(exchanges, voice.say(_bank("civil_firm")), voice)
    for _ in range(voice.rng.choice((0, 1, 2)) if plan.upset != "calm" else 0):
        _insert(exchanges, voice.say(_bank(f"{plan.upset}_remark")), voice)
    for _ in range(voice.rng.choice((0, 1, 2, 2, 3))):
        _insert(exchanges, voice.say(_bank("general")), voice)
    if _chance(voice, 0.25):
        _insert(exchanges, voice.say(_bank("side")), voice)


def _insert(exchanges: list[list[Said]], exchange: list[Said], voice: Voice) -> None:
    exchanges.insert(voice.rng.randrange(2, len(exchanges) + 1), exchange)


def _chance(voice: Voice, probability: float) -> bool:
    return voice.rng.random() < probability
