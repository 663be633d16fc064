"""What clients do meanwhile, as a pure function of the seed but for the times that the relay takes.

async    posted, then polled to its end            sync    waited for on the connection
keyed    with an Idempotency-Key: posted again while nothing comes back, half of them twice at once from the start
cancel   posted, then taken back                   hangup  waited for, but not for long
talk     three turns of one conversation           direct  an asynchronous one in direct mode
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from scripts.storm.clock import Clock
from scripts.storm.ledger import Entry, Ledger, code_of
from scripts.storm.shapes import MODEL

CHAT = "/v2/openai/v1/chat/completions"
KINDS = {"async": 30, "sync": 25, "keyed": 20, "cancel": 7, "hangup": 6, "talk": 7, "direct": 5}
BURST_EVERY, BURST = 10.0, 25  # seconds between two bursts; requests of one: more than there are slots
ENDED = ("completed", "failed")
PAUSE = 0.2  # seconds before a client asks a relay again that was down
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
_WAIT = 10  # seconds of one long poll
_TURNS = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that is to be sent at `at` seconds."""

    at: float
    kind: str
    number: int
    chance: float


def demand(seed: int, seconds: float, rate: float) -> list[Asked]:
    """Requests at random times, `rate` a second on average, and bursts. The same arguments, the same requests."""
    rng = random.Random(f"load {seed}")
    times, at = [], 0.0
    while (at := at + rng.expovariate(rate)) < seconds:
        times.append(at)
    burst = BURST_EVERY
    while burst < seconds:
        times += [burst] * BURST
        burst += BURST_EVERY
    kinds, weights = list(KINDS), list(KINDS.values())
    return [Asked(at, rng.choices(kinds, weights)[0], number, rng.random()) for number, at in enumerate(sorted(times))]


class Load:
    """Sends what is asked and keeps the ledger. `doors`: base URLs of the API; `sessions`: one a client's key."""

    def __init__(self, doors: list[str], sessions: list[aiohttp.ClientSession], ledger: Ledger, clock: Clock) -> None:
        self._doors, self._sessions, self._ledger, self._clock = doors, sessions, ledger, clock

    async def run(self, asked: list[Asked]) -> None:
        """Returns when all have been answered to the end; cancel it when that is too long."""
        async with asyncio.TaskGroup() as group:
            for each in asked:
                await asyncio.sleep(max(0.0, each.at - self._clock.now()))
                group.create_task(self._one(each))

    async def _one(self, asked: Asked) -> None:
        key = asked.number % len(self._sessions)
        if asked.kind == "talk":
            return await self._talk(asked, key)
        prompt = f"Request {asked.number}: what is {asked.number} + {asked.number % 7}?"
        entry = self._ledger.open(asked.kind, key, prompt, self._clock.now())
        messages = [{"role": "user", "content": prompt}]
        acts: dict[str, Callable[[], Any]] = {
            "async": lambda: self._asynchronous(entry, messages),
            "direct": lambda: self._asynchronous(entry, messages, mode="direct"),
            "sync": lambda: self._post(entry, messages),
            "keyed": lambda: self._keyed(entry, messages, asked.chance),
            "cancel": lambda: self._cancel(entry, messages, asked.chance),
            "hangup": lambda: self._hang_up(entry, messages, asked.chance),
        }
        await acts[asked.kind]()

    async def _talk(self, asked: Asked, key: int) -> None:
        """Each turn carries the ones before it, as a chat program does."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": "You know the weather. " * 20}]
        for turn in range(_TURNS):
            prompt = f"Talk {asked.number}, turn {turn}: and then?"
            messages = [*messages, {"role": "user", "content": prompt}]
            entry = self._ledger.open("talk", key, prompt, self._clock.now())
            said = await self._asynchronous(entry, messages)
            if said is None:
                return
            messages = [*messages, {"role": "assistant", "content": said}]

    async def _asynchronous(self, entry: Entry, messages: list[Any], mode: str = "opengpu") -> str | None:
        """The answer's text, where one came."""
        await self._post(entry, messages, mode=mode, waits=False)
        return await self._poll(entry)

    async def _keyed(self, entry: Entry, messages: list[Any], chance: float) -> None:
        """Until there is an answer: that is what the key is for."""
        headers = {"Idempotency-Key": f"storm-{entry.number}-{secrets.token_hex(4)}"}
        posts = 2 if chance * 10 % 1 < 0.5 else 1
        while entry.task_id is None:
            await asyncio.gather(*(self._post(entry, messages, headers, waits=chance < 0.5) for _ in range(posts)))
            if entry.task_id is None and not _worth_trying(entry.refusal):
                return
            await asyncio.sleep(0.0 if entry.task_id else PAUSE)
        await self._poll(entry)

    async def _cancel(self, entry: Entry, messages: list[Any], chance: float) -> None:
        await self._post(entry, messages, waits=False)
        await asyncio.sleep(chance)
        while entry.task_id is not None:
            status, _ = await self._call("POST", entry.key, f"/v2/tasks/{entry.task_id}/cancel")
            if status and status not in _AGAIN:
                break
            await asyncio.sleep(PAUSE)
        await self._poll(entry)

    async def _hang_up(self, entry: Entry, messages: list[Any], chance: float) -> None:
        """It goes on without its client: what becomes of it shows in the key's list."""
        try:
            async with asyncio.timeout(0.05 + chance / 2):
                await self._post(entry, messages)
        except TimeoutError:
            entry.refusal = None

    async def _post(
        self,
        entry: Entry,
        messages: list[Any],
        headers: dict[str, str] | None = None,
        *,
        mode: str = "opengpu",
        waits: bool = True,
    ) -> None:
        """Accepted is what has a task id, whatever became of the task."""
        body = {"model": MODEL, "mode": mode, "messages": messages, "max_completion_tokens": 64, "async": not waits}
        entry.posts += 1
        status, told, task_id = await self._knock(entry, entry.number + entry.posts, body, headers)
        if task_id is not None:  # were it another id than before, the key's list would show two tasks of one prompt
            entry.task_id, entry.refusal = entry.task_id or task_id, None
            if waits and entry.ended is None:
                await self._waited(entry, status, told)
        elif status:
            entry.refusal = code_of(status, told)

    async def _knock(
        self, entry: Entry, first: int, body: dict[str, Any], headers: dict[str, str] | None
    ) -> tuple[int, Any, str | None]:
        """At one door after the other until one opens, as a load balancer does. Status 0: no answer."""
        why = ""
        for door in range(len(self._doors)):
            url = f"{self._doors[(first + door) % len(self._doors)]}{CHAT}"
            try:
                async with self._sessions[entry.key].post(url, json=body, headers=headers) as answer:
                    return answer.status, await answer.json(content_type=None), answer.headers.get("x-task-id")
            except aiohttp.ClientConnectorError:
                why = "connection refused"
            except (aiohttp.ClientError, TimeoutError, ValueError):
                why = "connection broken"
                break  # it may have been heard: without an Idempotency-Key nobody may say it twice
        entry.refusal = entry.refusal or f"no answer ({why})"
        return 0, None, None

    async def _waited(self, entry: Entry, status: int, told: Any) -> None:
        """A synchronous call was answered: with the task's end, or without one (the task goes on)."""
        if status == 200:
            entry.ended, entry.status = self._clock.now(), "completed"
        else:
            await self._poll(entry)

    async def _poll(self, entry: Entry) -> str | None:
        while entry.task_id is not None and entry.ended is None:
            status, seen = await self._call("GET", entry.key, f"/v2/tasks/{entry.task_id}?wait={_WAIT}")
            if status == 200 and seen["status"] in ENDED:
                entry.ended, entry.status = self._clock.now(), seen["status"]
                result = seen["result"] if seen["status"] == "completed" else None
                return str(result["choices"][0]["message"]["content"]) if result else None
            if status != 200:
                await asyncio.sleep(PAUSE)
        return None

    async def _call(self, method: str, key: int, path: str) -> tuple[int, Any]:
        """Status 0 when nobody answers."""
        for door in random.sample(self._doors, len(self._doors)):
            try:
                async with self._sessions[key].request(method, f"{door}{path}") as answer:
                    return answer.status, await answer.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, ValueError):
                continue
        return 0, None


def _worth_trying(refusal: str | None) -> bool:
    """Nothing came back, or it was the relay's trouble and not the request's."""
    if refusal is None or refusal.startswith("no answer"):
        return True
    return refusal.split()[0].isdigit() and int(refusal.split()[0]) in _AGAIN
