"""Puts before a Lua script what it uses of the preludes, and nothing else.

Redis runs a script's text from its first line at every call: each function of a prelude that is defined and not used
costs about a third of a microsecond, and there are over a hundred of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

# A definition begins in the first column and goes on to the next one; there is nothing else at that level.
_DEFINITION = re.compile(r"^local (?:function (\w+)|([\w, ]+?) *=)", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n?|  *-- .*$", re.MULTILINE)
_TEXT = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_WORD = re.compile(r"[A-Za-z_]\w*")


def link(preludes: Sequence[str], script: str, values: Mapping[str, int | str]) -> str:
    """`script` after the definitions that it needs, in their order. `values`: what `NAME.field` stands for."""
    definitions = [part for prelude in preludes for part in _definitions(_bare(prelude))]
    script = _filled(_bare(script), values)
    wanted = _words(script)
    needed: list[str] = []
    # from the last one: a definition uses only those before it
    for names, bare in reversed(definitions):
        if names & wanted:
            text = _filled(bare, values)
            wanted |= _words(text)
            needed.append(text)
    return "".join([*reversed(needed), script])


@cache
def _bare(source: str) -> str:
    return _COMMENT.sub("", source)


def _filled(source: str, values: Mapping[str, int | str]) -> str:
    return re.sub(r"\b[A-Z]+\.\w+", lambda name: str(values.get(name[0], name[0])), source)


@cache
def _definitions(source: str) -> list[tuple[set[str], str]]:
    """Each with the names that it defines."""
    starts = list(_DEFINITION.finditer(source))
    if source[: starts[0].start()].strip():
        raise ValueError(f"a prelude begins with its definitions, not with {source[:40]!r}")
    ends = [*(start.start() for start in starts[1:]), len(source)]
    return [
        (set(_WORD.findall(start[1] or start[2])), source[start.start() : end])
        for start, end in zip(starts, ends, strict=True)
    ]


@cache
def _words(source: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_TEXT.sub("", source)))
