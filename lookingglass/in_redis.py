"""Limits in Redis or Valkey, for the processes of several machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lookingglass.problems import ROUNDING
from lookingglass.sharing import LEASE, Lost, Shared
from lookingglass.store import OWNED, SHARE_RETRY, Claim, Decision, Share, Token

TIMEOUT = 0.15  # seconds for one answer; a decision needs two at most
KEY_PREFIX = "{tinytracer}:"  # braces: all keys are in one slot of a cluster
LOST = "lost"

# What all scripts begin with. The clock is the server's own. Holders and buckets expire by themselves.
COMMON = """
local base, holder = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local mine = base .. 'held:' .. holder

local function bucket_of(token)
    local name = base .. 'bucket:' .. token.key
    local found = redis.call('HMGET', name, 'tokens', 'since')
    if not found[1] then return token.burst, false end
    local since = tonumber(found[2])
    if since > now then  -- the clock was set back
        redis.call('HSET', name, 'since', string.format('%.17g', now))
    end
    return math.min(token.burst, tonumber(found[1]) + math.max(0, now - since) * token.speed), true
end

local function has_room(token)
    local keys = base .. 'keys:' .. token.owner
    redis.call('ZREMRANGEBYSCORE', keys, '-inf', now)
    return redis.call('ZCARD', keys) < OWNED
end

local function put(token, tokens)
    local name, keys = base .. 'bucket:' .. token.key, base .. 'keys:' .. token.owner
    local life = math.ceil((token.burst - tokens) / token.speed * 1000)
    if life <= 0 then
        redis.call('DEL', name)
        redis.call('ZREM', keys, token.key)
        return
    end
    redis.call('HSET', name, 'tokens', string.format('%.17g', tokens), 'since', string.format('%.17g', now))
    redis.call('PEXPIRE', name, string.format('%.0f', life))
    redis.call('ZADD', keys, string.format('%.17g', now + life / 1000), token.key)
    redis.call('PEXPIRE', keys, string.format('%.0f', math.max(life, redis.call('PTTL', keys))))
end

local function spend(token, amount)
    local tokens, is_known = bucket_of(token)
    if is_known or (amount > 0 and has_room(token)) then
        put(token, math.max(token.floor, math.min(token.burst, tokens - amount)))
    end
end
""".replace("OWNED", str(OWNED))
ALIVE = "if redis.call('HEXISTS', mine, '') == 0 then return 'lost' end\n"

# ARGV: a holder, claims, a penalty or false. It is Ledger.decide; -1 stands for infinity.
DECIDE_SCRIPT = f"""
{COMMON}{ALIVE}
local claims, penalty = cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
local holders = redis.call('SMEMBERS', base .. 'holders')
local left = {{}}

local function held(key)
    local sum = 0
    for _, each in ipairs(holders) do
        sum = sum + tonumber(redis.call('HGET', base .. 'held:' .. each, key) or 0)
    end
    return sum
end

local function wait(claim)
    if claim.limit then return held(claim.key) >= claim.limit and {SHARE_RETRY} or 0 end
    local tokens, is_known = bucket_of(claim)
    left[claim.key] = tokens
    if not is_known and claim.amount > 0 and not has_room(claim) then return -1 end
    local reserve = claim.reserve > 0 and held(claim.idle) > 0 and claim.reserve or 0
    local lacking = (claim.amount + reserve - tokens) / claim.speed
    return lacking > {ROUNDING} and lacking or 0
end

local function fine(seconds)
    local tokens, is_known = bucket_of(penalty)
    tokens = tokens >= 1 and tokens - 1 or math.max(penalty.floor, -2 * seconds * penalty.speed)
    if is_known or has_room(penalty) then put(penalty, tokens) end
    return math.max(seconds, -tokens / penalty.speed)
end

for number, claim in ipairs(claims) do
    local seconds = wait(claim)
    if seconds ~= 0 then
        if penalty and claim.status == 429 and seconds > 0 then
            seconds = fine(seconds)
        end
        return cjson.encode({{seconds, number, left}})
    end
end
for _, claim in ipairs(claims) do
    if claim.limit then
        redis.call('HINCRBY', mine, claim.key, 1)
    elseif claim.amount > 0 then
        left[claim.key] = left[claim.key] - claim.amount
        put(claim, left[claim.key])
    end
end
return cjson.encode({{0, 0, left}})
"""

# ARGV: a holder, counts that were given back by key, pairs of a token and an amount.
SETTLE_SCRIPT = f"""
{COMMON}{ALIVE}
for key, count in pairs(cjson.decode(ARGV[2])) do
    if redis.call('HINCRBY', mine, key, -count) <= 0 then redis.call('HDEL', mine, key) end
end
for _, charge in ipairs(cjson.decode(ARGV[3])) do spend(charge[1], charge[2]) end
return 'done'
"""

# ARGV: a holder or an empty string, what it holds by key, stale holders, milliseconds of its life.
REGISTER_SCRIPT = """
local base, holder = KEYS[1], ARGV[1]
for _, each in ipairs(cjson.decode(ARGV[3])) do
    redis.call('DEL', base .. 'held:' .. each)
    redis.call('SREM', base .. 'holders', each)
end
if holder == '' then return 'done' end
local mine = base .. 'held:' .. holder
redis.call('HSET', mine, '', 1)
for key, count in pairs(cjson.decode(ARGV[2])) do redis.call('HSET', mine, key, count) end
redis.call('PEXPIRE', mine, ARGV[4])
redis.call('SADD', base .. 'holders', holder)
return 'done'
"""

# ARGV: a holder, milliseconds of its life. Names of holders that have expired are removed.
BEAT_SCRIPT = """
local base = KEYS[1]
for _, each in ipairs(redis.call('SMEMBERS', base .. 'holders')) do
    if redis.call('EXISTS', base .. 'held:' .. each) == 0 then redis.call('SREM', base .. 'holders', each) end
end
if redis.call('PEXPIRE', base .. 'held:' .. ARGV[1], ARGV[2]) == 0 then return 'lost' end
return 'done'
"""


class Redis(Shared):
    """Keep everything in a Redis server; a decision is one script, by the server's clock."""

    def __init__(self, url: str, prefix: str = KEY_PREFIX) -> None:
        super().__init__()
        self.name = "Redis"  # a URL may have a password in it
        self._prefix = prefix
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        scripts = {
            "decide": DECIDE_SCRIPT,
            "settle": SETTLE_SCRIPT,
            "register": REGISTER_SCRIPT,
            "beat": BEAT_SCRIPT,
        }
        self._scripts = {name: self._client.register_script(text) for name, text in scripts.items()}

    def _connect(self) -> None:
        self._disconnect()
        self._client.ping()

    def _disconnect(self) -> None:
        self._client.close()

    def _register(self, holder: str, holds: Mapping[str, int], stale: Sequence[str]) -> None:
        self._call("register", holder, json.dumps(holds), json.dumps(stale), int(LEASE * 1000))

    def _beat(self, holder: str) -> None:
        self._call("beat", holder, int(LEASE * 1000))

    def _decide(self, holder: str, claims: Sequence[Claim], penalty: Token | None) -> Decision:
        fine = penalty is not None and _plain(penalty)
        answer = self._call("decide", holder, json.dumps([*map(_plain, claims)]), json.dumps(fine))
        seconds, number, left = json.loads(answer)
        refused = claims[number - 1] if number else None
        return Decision(math.inf if seconds < 0 else seconds, refused, left or {})

    def _settle(self, holder: str, given: Mapping[str, int], charges: Sequence[tuple[Token, float]]) -> None:
        plain = [(_plain(token), amount) for token, amount in charges]
        self._call("settle", holder, json.dumps(given), json.dumps(plain))

    def _call(self, name: str, *arguments: str | int) -> str:
        """Run a script by its digest, or by its text where the server does not know it; raises Lost."""
        answer = str(self._scripts[name](keys=[self._prefix], args=arguments))
        if answer == LOST:
            raise Lost
        return answer


def _plain(claim: Claim) -> dict[str, Any]:
    """Return a claim as the scripts read it."""
    if isinstance(claim, Share):
        return claim._asdict()
    return {**claim._asdict(), "speed": claim.rate.speed}
