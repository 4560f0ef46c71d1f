"""Lua for what running requests hold in Redis, worker by worker.

Every script says that its worker was heard. Who has been silent for too long gave up all it held:
found out when its scope is next looked at, and done with two commands however much it was.

- ``…:l``: a hash of the workers that hold something in a scope, and the money each holds;
- ``…:l:worker``: a sorted set of its running requests, by when their lease ends;
- ``…:beats``: a hash of when each worker was heard, when any was (``:last``), and since when some
  worker always was (``:since``).
"""

from __future__ import annotations

HEAR = """
local BEATS_S = 3600

local beats = KEYS[#KEYS]
local heard = {}
local found_beats = redis.call('HGETALL', beats)
for i = 1, #found_beats, 2 do heard[found_beats[i]] = tonumber(found_beats[i + 1]) end
-- Where nobody at all was heard, it was this server that stood still: no worker was silent.
if now_us - (heard[':last'] or 0) > asked.silence_us / 2 then heard[':since'] = now_us end
heard[asked.worker], heard[':last'] = now_us, now_us
redis.call('HSET', beats, asked.worker, now_us, ':last', now_us, ':since', heard[':since'])
redis.call('EXPIRE', beats, BEATS_S)

local function is_silent(worker)
  return math.max(heard[worker] or 0, heard[':since']) + asked.silence_us <= now_us
end
"""

BEAT = """
for worker in pairs(heard) do
  if worker:sub(1, 1) ~= ':' and is_silent(worker) then redis.call('HDEL', beats, worker) end
end
return 1
"""

LEASES = """
local function own_leases(leases, worker)
  return leases .. ':' .. worker
end

local function begin_lease(leases)
  local own, lasts_ms = own_leases(leases, asked.worker), math.ceil(asked.lease_us / 1000) + 1000
  redis.call('ZADD', own, now_us + asked.lease_us, asked.member)
  redis.call('PEXPIRE', own, lasts_ms)
  redis.call('HINCRBY', leases, asked.worker, asked.most.money)
  redis.call('PEXPIRE', leases, lasts_ms)
end

-- Of what was given up nothing is left to end.
local function end_lease(leases, worker, member)
  if redis.call('ZREM', own_leases(leases, worker), member) == 0 then return end
  redis.call('HINCRBY', leases, worker, 0 - tonumber(member:match(':(%d+)$')))
end

local function give_up(leases, worker)
  redis.call('UNLINK', own_leases(leases, worker))
  redis.call('HDEL', leases, worker)
end

-- How many requests a worker runs, without those whose lease ended, and the money they hold.
local function held_by(leases, worker)
  local own = own_leases(leases, worker)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', own, '-inf', now_us)) do
    end_lease(leases, worker, member)
  end
  local running = redis.call('ZCARD', own)
  if running == 0 then
    redis.call('HDEL', leases, worker)
    return 0, 0
  end
  return running, tonumber(redis.call('HGET', leases, worker))
end

local function held_by_all(leases)
  local running, nano = 0, 0
  for _, worker in ipairs(redis.call('HKEYS', leases)) do
    if is_silent(worker) then give_up(leases, worker)
    else
      local its_running, its_nano = held_by(leases, worker)
      running, nano = running + its_running, nano + its_nano
    end
  end
  return running, nano
end
"""
