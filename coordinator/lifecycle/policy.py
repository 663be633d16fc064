"""The numbers that decide, with their reasons, and the decisions that need no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from coordinator.errors import RelayError, UpstreamError, UpstreamInvalidRequest, UpstreamTimeout
from coordinator.lifecycle.money import Tokens
from coordinator.protocol.report import Blame, Failure, FailureCode


@dataclass(frozen=True, slots=True)
class Policy:
    """Times and bounds of a coordinator. Every process of one coordinator must run with the same."""

    lease: timedelta = timedelta(seconds=10)  # a node that falls silent is given up after this
    heartbeat: timedelta = timedelta(seconds=2)  # five missed in a row are a lost lease: one lost packet never is
    session: timedelta = timedelta(hours=1)  # how long a stolen session, or broker password, is good for
    # Stages of an attempt. A node that beats without naming what it was given has missed it; a healthy one cures that
    # by a new session after three heartbeats, and this leaves it the fourth.
    taken: timedelta = timedelta(seconds=8)
    # Where the first token is told: a cold model is loaded by then. A prompt of 4 bytes a token is read at 500 tokens/s
    # or faster.
    first_token: timedelta = timedelta(seconds=30)
    first_token_per_kb: timedelta = timedelta(milliseconds=500)
    attempt_timeout: timedelta = timedelta(seconds=300)  # however often a node renews
    task_timeout: timedelta = timedelta(seconds=900)  # three attempts, or a long line; then an honest `failed`
    max_attempts: int = 3  # law 8
    max_line: int = 20_000  # waiting tasks a model, one client's at most half; beyond it, refusing at once is kinder
    result_ttl: timedelta = timedelta(hours=24)
    tombstone_ttl: timedelta = timedelta(days=7)  # how much longer an expired id is told from an unknown one
    sweep_every: timedelta = timedelta(milliseconds=250)  # a lost lease is seen within this

    # A conversation's next turn goes to the node that has it in its cache: lua/affinity_prelude.lua.
    affinity_ttl: timedelta = timedelta(minutes=10)  # by then a busy model server has forgotten it; 0: none does
    affinity_wait: timedelta = timedelta(milliseconds=500)  # while others are free: a long prompt takes longer to read

    # Whom to trust: lua/standing_prelude.lua.
    # Attempts at once of a key that nobody knows; each recent success is one more. Who claims thousands of slots and
    # then is silent delays so many, and no more.
    untried: int = 32
    half_life: timedelta = timedelta(minutes=10)  # of what was seen of a node: an hour later it hardly counts
    noise: timedelta = timedelta(milliseconds=50)  # of two answers quicker than this, neither says more of its node
    breaker_bad: int = 5  # bad attempts that suspend a node: in a row, or most of the recent; fewer may be chance
    suspension: timedelta = timedelta(seconds=30)  # the first one: a restarting model server is back by then
    longest_suspension: timedelta = timedelta(minutes=15)  # each is twice the one before, up to this
    trips_forgotten: timedelta = timedelta(hours=1)  # after so long without one, the next is a first one again
    probation_good: int = 3  # attempts in a row, one at a time, that make a node trusted again
    standing_ttl: timedelta = timedelta(days=30)

    def first_token_within(self, request_bytes: int) -> timedelta:
        """From the start of an attempt on."""
        return self.first_token + self.first_token_per_kb * (request_bytes / 1000)

    @property
    def quiet(self) -> timedelta:
        """Unswept for longer than this means that we were down: leases are extended before anybody is judged."""
        return 2 * self.heartbeat


@dataclass(frozen=True, slots=True)
class Pay:
    """What a node is credited on chain, in wei a token; plain integers because the EVM has no fractions."""

    wei_per_prompt_token: int = 1_000_000_000
    wei_per_completion_token: int = 4_000_000_000

    def amount(self, tokens: Tokens) -> int:
        """Wei for one answer. `tokens` as the coordinator has counted them, never as claimed: earnings.py."""
        return tokens.prompt * self.wei_per_prompt_token + tokens.completion * self.wei_per_completion_token


def client_error(failure: Failure) -> RelayError:
    """What the client reads when this failure is the end of its task."""
    if failure.blame is Blame.CLIENT:
        return UpstreamInvalidRequest(failure.message)
    if failure.code is FailureCode.BACKEND_TIMEOUT:
        return UpstreamTimeout("The node's model server did not answer in time.")
    return UpstreamError("Every node that took the task failed while serving it. Send the request again.")
