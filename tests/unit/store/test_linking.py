"""A script gets what it uses, in order, and nothing else."""

from __future__ import annotations

import pytest

from coordinator.store.linking import link

FIRST = """-- what the first is for
local A, B = POLICY.one, 2  -- of B nothing is known
local T = {
  x = 'unused words',
}
"""
SECOND = """local function unused(n) return A + T.x end

-- uses A
local function used(n)
  return n + A
end
local function quoted() return 'unused' end
"""


def test_only_what_is_used_and_what_that_uses() -> None:
    linked = link([FIRST, SECOND], "return used(POLICY.two)  -- unused\n", {"POLICY.one": 1, "POLICY.two": 22})
    assert " ".join(linked.split()) == "local A, B = 1, 2 local function used(n) return n + A end return used(22)"


def test_words_in_texts_are_no_uses() -> None:
    assert "unused(n)" not in link([FIRST, SECOND], "return quoted()", {})


def test_unknown_fields_stay() -> None:
    assert link([FIRST], "return POLICY.three", {"POLICY.one": 1}) == "return POLICY.three"


def test_a_prelude_of_statements_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with its definitions"):
        link(["redis.call('PING')\nlocal A = 1"], "return A", {})
