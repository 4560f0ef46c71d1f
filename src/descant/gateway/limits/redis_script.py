"""The scripts that keep limits in Redis: each runs whole, and nothing comes between.

They follow `InProcessLimits` step for step. A record, ``KEYS[1]``, says when a reservation was made
and is gone once it ended, so whatever is sent twice counts once. Every scope has three keys:

- ``…:w``: a hash of its windows' slots, with the sum and the first and last slot of each;
- ``…:l``: what running requests hold, worker by worker (`redis_leases`);
- ``…:m``: a hash of the money spent in the current day and month.

The last key says when each worker was heard.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from descant.gateway.limits.claim import SLOTS
from descant.gateway.limits.redis_leases import BEAT, HEAR, LEASES

SERVER_CLOCK = "redis.call('TIME')"
"""Lua that tells seconds and microseconds: the server's own, so workers' clocks do not matter."""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua, and the name under which Redis keeps it."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Script:
        """Name it as Redis does."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def reserve_script(clock_lua: str) -> Script:
    """Return the script that takes from all scopes or none."""
    return Script.of(_clock(clock_lua) + HEAR + LEASES + _WINDOW + _PURSE + _RESERVE)


def settle_script(clock_lua: str) -> Script:
    """Return the script that corrects a reservation and ends it."""
    return Script.of(_clock(clock_lua) + HEAR + LEASES + _WINDOW + _PURSE + _SETTLE)


def seed_script(clock_lua: str) -> Script:
    """Return the script that lets at least so much money be spent."""
    return Script.of(_clock(clock_lua) + _PURSE + _SEED)


def beat_script(clock_lua: str) -> Script:
    """Return the script that says only that its worker is there."""
    return Script.of(_clock(clock_lua) + HEAR + BEAT)


def _clock(clock_lua: str) -> str:
    return f"local clock = {clock_lua}\nlocal SLOTS = {SLOTS}\n{_TIME}"


_TIME = """
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local asked = ARGV[1] and cjson.decode(ARGV[1])
"""

_WINDOW = """
-- Nothing in ':w' outlives a minute and a slot.
local WINDOWS_S = 62

local function open_window(key, rate)
  local window = {key = key, rate = rate, name = rate.kind .. rate.slot_us}
  window.slot = math.floor(now_us / rate.slot_us)
  local name = window.name
  local found = redis.call('HMGET', key, name .. ':sum', name .. ':first', name .. ':last')
  window.sum = tonumber(found[1] or 0)
  window.first = tonumber(found[2] or window.slot)
  window.last = tonumber(found[3] or window.slot)
  if window.first > window.slot + SLOTS then
    -- The clock was set back by more than the window: when these come back cannot be told.
    redis.call('DEL', key)
    window.sum, window.first, window.last = 0, window.slot, window.slot
  end
  window.slot = math.max(window.slot, window.first)
  return window
end

local function slots_of(window, first, last)
  local names = {}
  for slot = first, last do names[#names + 1] = window.name .. ':' .. slot end
  return names
end

local function sweep(window)
  local oldest = window.slot - SLOTS
  if window.first >= oldest then return end
  local gone = slots_of(window, window.first, math.min(oldest - 1, window.last))
  for _, amount in ipairs(redis.call('HMGET', window.key, unpack(gone))) do
    window.sum = window.sum - tonumber(amount or 0)
  end
  redis.call('HDEL', window.key, unpack(gone))
  window.first = window.last < oldest and window.slot or oldest
  window.last = math.max(window.first, window.last)
end

local function store(window)
  local name = window.name
  redis.call('HSET', window.key, name .. ':sum', window.sum, name .. ':first', window.first,
    name .. ':last', window.last)
  redis.call('EXPIRE', window.key, WINDOWS_S)
end

local function take(window, amount)
  redis.call('HINCRBY', window.key, window.name .. ':' .. window.slot, amount)
  window.sum = window.sum + amount
  window.last = math.max(window.last, window.slot)
  store(window)
end

local function give_back(window, amount, taken_us)
  local slot = window.name .. ':' .. math.floor(taken_us / window.rate.slot_us)
  if redis.call('HEXISTS', window.key, slot) == 1 then
    redis.call('HINCRBY', window.key, slot, -amount)
    window.sum = window.sum - amount
  end
  store(window)
end

-- Microseconds until so much has come back.
local function wait(window, missing)
  local found = redis.call('HMGET', window.key, unpack(slots_of(window, window.first, window.last)))
  local slot = window.last
  for i, amount in ipairs(found) do
    missing = missing - tonumber(amount or 0)
    if missing <= 0 then slot = window.first + i - 1; break end
  end
  return (slot + 1 + SLOTS) * window.rate.slot_us - now_us
end

local function reset(window)
  if window.sum == 0 then return 0 end
  return (window.last + 1 + SLOTS) * window.rate.slot_us - now_us
end
"""

_PURSE = """
local PURSE_S = 32 * 86400
local DAY_US = 86400 * 1000000
local today = math.floor(now_us / DAY_US)

-- The first day of a day's month, in days since 1970: years begin in March and come in eras of 400.
local function month_of(day)
  local shifted = day + 719468
  local in_era = shifted - math.floor(shifted / 146097) * 146097
  local leaps = math.floor(in_era / 1460) - math.floor(in_era / 36524) + math.floor(in_era / 146096)
  local year = math.floor((in_era - leaps) / 365)
  local in_year = in_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * in_year + 2) / 153)
  return day - (in_year - math.floor((153 * month + 2) / 5))
end

local function start_of(period)
  return period == 'day' and today or month_of(today)
end

local function end_of(period)
  -- No month is longer than 31 days, and 31 days after its first is in the next.
  return period == 'day' and today + 1 or month_of(month_of(today) + 31)
end

local function spent(key, period)
  local found = redis.call('HMGET', key, period, period .. ':spent')
  return tonumber(found[1] or -1) == start_of(period) and tonumber(found[2]) or 0
end

local function set_spent(key, period, nano)
  redis.call('HSET', key, period, start_of(period), period .. ':spent', nano)
  redis.call('EXPIRE', key, PURSE_S)
end
"""

_RESERVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return {'void'} end
local most = asked.most
local answer, worst = {}, nil

local function refuse(claim, kind, limit, per, wait_us)
  if worst == nil or wait_us > worst.wait_us then
    worst = {claim = claim, kind = kind, limit = limit, per = per, wait_us = wait_us}
  end
end

local function ask_rate(i, window)
  local amount, limit = most[window.rate.kind], window.rate.limit
  if window.rate.is_burst then limit = math.max(limit, amount) end
  local missing = window.sum + amount - limit
  if amount == 0 or missing <= 0 then return end
  local wait_us = amount > limit and math.huge or wait(window, missing)
  refuse(i, window.rate.kind, window.rate.limit, window.rate.per, wait_us)
end

local function ask_budget(i, key, budget, held)
  local left = budget.limit - spent(key, budget.period)
  local wait_us = nil
  if most.money > budget.limit then wait_us = math.huge
  elseif most.money > left then wait_us = end_of(budget.period) * DAY_US - now_us
  elseif most.money > left - held then
    wait_us = asked.guess_us
  end
  if wait_us then refuse(i, 'money', budget.limit, 'a ' .. budget.period, wait_us) end
end

local windows = {}
for i, claim in ipairs(asked.claims) do
  local slots, leases, purse = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  windows[i] = {}
  for j, rate in ipairs(claim.rates) do
    local window = open_window(slots, rate)
    windows[i][j] = window
    sweep(window)
    ask_rate(i, window)
  end
  if claim.is_leased then
    local running, held = held_by_all(leases)
    if claim.concurrency and running >= claim.concurrency then
      refuse(i, 'concurrency', claim.concurrency, 'at once', asked.guess_us)
    end
    if most.money > 0 then
      for _, budget in ipairs(claim.budgets) do ask_budget(i, purse, budget, held) end
    end
  end
end

if not worst then
  -- A second longer, so that a lease has lapsed by the clock before its record goes.
  redis.call('SET', KEYS[1], now_us, 'PX', math.ceil(asked.lease_us / 1000) + 1000)
  for i, claim in ipairs(asked.claims) do
    for _, window in ipairs(windows[i]) do take(window, most[window.rate.kind]) end
    if claim.is_leased then begin_lease(KEYS[3 * i]) end
  end
else
  for i in ipairs(asked.claims) do
    for _, window in ipairs(windows[i]) do store(window) end
  end
end

if worst then
  answer = {'refused', worst.claim, worst.kind, worst.limit, worst.per,
    worst.wait_us == math.huge and 'inf' or string.format('%.0f', worst.wait_us)}
else
  answer = {'taken', now_us}
end
local rooms = {}
for i in ipairs(asked.claims) do
  for _, window in ipairs(windows[i]) do
    if not window.rate.is_burst then
      rooms[#rooms + 1] = window.rate.limit - window.sum
      rooms[#rooms + 1] = reset(window)
    end
  end
end
answer[#answer + 1] = rooms
return answer
"""

_SETTLE = """
local record = redis.call('GET', KEYS[1])
local taken_us = tonumber(record) or asked.taken_us
if asked.is_lost and (not record or record == 'void') then
  -- It may yet come: what was given up on must not be taken later.
  redis.call('SET', KEYS[1], 'void', 'EX', 60)
  return 0
end
redis.call('DEL', KEYS[1])
local is_lapsed = taken_us + asked.lease_us <= now_us
local is_running = record and not is_lapsed
if not is_running and (asked.is_again or not is_lapsed) then return 0 end

for i, claim in ipairs(asked.claims) do
  local leases, purse = KEYS[3 * i], KEYS[3 * i + 1]
  for _, rate in ipairs(claim.rates) do
    local window = open_window(KEYS[3 * i - 1], rate)
    sweep(window)
    local excess = asked.used[rate.kind] - asked.most[rate.kind]
    if excess > 0 then take(window, excess)
    elseif excess < 0 and is_running then give_back(window, -excess, taken_us)
    else store(window) end
  end
  if claim.is_leased then
    end_lease(leases, asked.holder, asked.member)
    for _, budget in ipairs(claim.budgets) do
      set_spent(purse, budget.period, spent(purse, budget.period) + asked.used.money)
    end
  end
end
return 1
"""

_SEED = """
local known = spent(KEYS[1], asked.period)
if asked.start == start_of(asked.period) then
  set_spent(KEYS[1], asked.period, math.max(known, asked.spent))
end
return 1
"""
