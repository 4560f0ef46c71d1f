"""How much may pass in a minute, at once and for money: taken before a request, corrected after it.

::

    claims = (Claim.of("key:team", key), Claim.of("upstream:own", own, burst_s=1.0))   # once
    answer = await limits.reserve(claims, Amounts(tokens=call.most_tokens))
    if isinstance(answer, Refusal): ...                      # 429 with answer.retry_after_s
    await limits.settle(answer, Amounts(tokens=usage.total_tokens))    # or limits.release(answer)

`shared` is entered by itself: Redis's client is not loaded where nobody uses it.
"""

from descant.gateway.limits.claim import NANO, Budget, Claim, Period, Rate
from descant.gateway.limits.in_process import InProcessLimits
from descant.gateway.limits.reservation import (
    Amounts,
    Limits,
    Refusal,
    Reservation,
    Room,
    SharedLimits,
)

__all__ = [
    "NANO",
    "Amounts",
    "Budget",
    "Claim",
    "InProcessLimits",
    "Limits",
    "Period",
    "Rate",
    "Refusal",
    "Reservation",
    "Room",
    "SharedLimits",
]
