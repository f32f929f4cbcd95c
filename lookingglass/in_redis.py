"""Limits and frozen answers in Redis or Valkey, for the processes of several machines."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lookingglass.cabinet import ENTRY_OVERHEAD, Keeping
from lookingglass.problems import ROUNDING
from lookingglass.sharing import LEASE, Lost, Shared
from lookingglass.store import OWNED, SHARE_RETRY, Claim, Decision, Share, Token

TIMEOUT = 0.15  # seconds for one answer; a decision needs two at most
KEY_PREFIX = "{tinytracer}:"  # braces: all keys are in one slot of a cluster
LOST = "lost"

# What all scripts begin with. The clock is the server's own. Holders and buckets expire by themselves.
PRELUDE = """
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
{PRELUDE}{ALIVE}
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
    local lacking = (claim.amount + claim.reserve - tokens) / claim.speed
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
{PRELUDE}{ALIVE}
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

# ARGV: a name, an owner, a body, its size, seconds of its life, most entries, most bytes. An entry is a key
# that expires. Beside it stand its size, its place among all and among its owner's, and the owners' sums.
KEEP_SCRIPT = """
local base, name, owner = KEYS[1], ARGV[1], ARGV[2]
local life, entries, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local all, owners = base .. 'results', base .. 'results:owners'
local sizes, sums, counts = base .. 'results:sizes', base .. 'results:sums', base .. 'results:counts'

local function drop(each)  -- a server that is short of memory may have dropped any of these keys itself
    local whose = redis.call('HGET', owners, each) or ''
    redis.call('HINCRBY', sums, whose, -tonumber(redis.call('HGET', sizes, each) or 0))
    if redis.call('HINCRBY', counts, whose, -1) <= 0 then redis.call('HDEL', counts, whose) end
    if redis.call('HEXISTS', counts, whose) == 0 then redis.call('HDEL', sums, whose) end
    redis.call('DEL', base .. 'result:' .. each)
    redis.call('HDEL', owners, each)
    redis.call('HDEL', sizes, each)
    redis.call('ZREM', all, each)
    redis.call('ZREM', base .. 'results:of:' .. whose, each)
end

local function drop_of_most(tallies)  -- the oldest of the owner that has most, or of several such owners
    local most, whose, which, since = -1, '', nil, 0
    local found = redis.call('HGETALL', tallies)
    for number = 1, #found, 2 do
        local tally = tonumber(found[number + 1])
        if tally >= most then
            local oldest = redis.call('ZRANGE', base .. 'results:of:' .. found[number], 0, 0, 'WITHSCORES')
            local score = tonumber(oldest[2] or 0)
            if tally > most or score < since then
                most, whose, which, since = tally, found[number], oldest[1], score
            end
        end
    end
    if which then return drop(which) end
    redis.call('HDEL', sums, whose)
    redis.call('HDEL', counts, whose)
end

local function used()
    local sum = 0
    for _, each in ipairs(redis.call('HVALS', sums)) do sum = sum + tonumber(each) end
    return sum
end

for _, each in ipairs(redis.call('ZRANGEBYSCORE', all, '-inf', now)) do drop(each) end
local mine = base .. 'results:of:' .. owner
redis.call('SET', base .. 'result:' .. name, ARGV[3], 'PX', string.format('%.0f', life * 1000))
redis.call('ZADD', all, string.format('%.17g', now + life), name)
redis.call('ZADD', mine, string.format('%.17g', now + life), name)
redis.call('HSET', owners, name, owner)
redis.call('HSET', sizes, name, ARGV[4])
redis.call('HINCRBY', sums, owner, ARGV[4])
redis.call('HINCRBY', counts, owner, 1)
while used() > bytes do drop_of_most(sums) end
if redis.call('ZCARD', all) > entries then drop_of_most(counts) end
for _, each in ipairs({all, owners, sizes, sums, counts, mine, base .. 'results:secret'}) do
    redis.call('PEXPIRE', each, string.format('%.0f', life * 1000))
end
return redis.call('EXISTS', base .. 'result:' .. name)
"""


class Redis(Shared):
    """Keep everything in a Redis server; a decision is one script, by the server's clock."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.name = "Redis"  # a URL may have a password in it
        self._client = _client(url, decode_responses=True)
        scripts = {
            "decide": DECIDE_SCRIPT,
            "settle": SETTLE_SCRIPT,
            "register": REGISTER_SCRIPT,
            "beat": BEAT_SCRIPT,
        }
        self._scripts = {name: self._client.register_script(text) for name, text in scripts.items()}

    def _connect(self) -> None:
        self._disconnect()
        memory: Any = self._client.info("memory")
        if 0 < memory["maxmemory"] <= memory["used_memory"]:  # which is why it could not be used
            results = [*self._client.scan_iter(f"{KEY_PREFIX}result*", 1000)]
            if results:
                self._client.unlink(*results)

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
        answer = str(self._scripts[name](keys=[KEY_PREFIX], args=arguments))
        if answer == LOST:
            raise Lost
        return answer


def _plain(claim: Claim) -> dict[str, Any]:
    """Return a claim as the scripts read it."""
    if isinstance(claim, Share):
        return claim._asdict()
    return {**claim._asdict(), "speed": claim.rate.speed}


class RedisCabinet:
    """Keep frozen answers in a Redis server, by its own clock."""

    def __init__(self, url: str, keeping: Keeping) -> None:
        self._keeping = keeping
        self._client = _client(url)
        self._keep = self._client.register_script(KEEP_SCRIPT)

    def secret(self) -> bytes:
        """Return the key that makes an owner of a network, made by the first process."""
        key = f"{KEY_PREFIX}results:secret"
        found: Any = self._client.get(key)
        if found is None:
            self._client.set(key, secrets.token_hex(16), nx=True)
            found = self._client.get(key)
        return bytes(found or b"")

    def put(self, name: str, owner: str, body: bytes, now: float, expires: float) -> bool:
        """Keep a body, and tell whether there was room."""
        keeping = self._keeping
        bounds = (len(body) + ENTRY_OVERHEAD, expires - now, keeping.entries, keeping.size)
        return bool(self._keep(keys=[KEY_PREFIX], args=[name, owner, body, *bounds]))

    def get(self, name: str, now: float) -> bytes | None:
        """Return a body, None when there is none of this name or when it has expired."""
        found: Any = self._client.get(f"{KEY_PREFIX}result:{name}")
        return None if found is None else bytes(found)

    def close(self) -> None:
        """Let go of the server."""
        self._client.close()


def _client(url: str, **options: Any) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
