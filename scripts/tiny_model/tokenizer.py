"""A byte-level BPE tokenizer, small enough to train in seconds, and the same one that llama.cpp runs from the GGUF.

llama.cpp knows it as model "gpt2" with the pre-tokenizer "smollm": every digit is a token of its own, which lets a
small model see the places of a number. The training text is nearly all ASCII, so ASCII letter classes stand in for the
Unicode ones here; the evaluation compares both tokenizers on the real server.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

END_OF_TEXT, TURN_OPEN, TURN_CLOSE = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL = (END_OF_TEXT, TURN_OPEN, TURN_CLOSE)
RARE = 10
"""Words seen less often than this teach no merges: nearly all of them are made up."""
VISIBLE = ("<tool_call>", "</tool_call>")
"""Single tokens that llama.cpp must still print: its tool-call reader looks for them in the text."""
SPECIAL = CONTROL + VISIBLE
PRE_TOKENIZER = "smollm"

_SPECIAL_PATTERN = re.compile("(" + "|".join(re.escape(token) for token in SPECIAL) + ")")
_DIGIT = re.compile(r"([0-9])")
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")

Pair = tuple[str, str]


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes, in the order of its vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def words(text: str) -> list[str]:
    """`text` cut the way the pre-tokenizer cuts it, before any byte is merged."""
    return [word for piece in _DIGIT.split(text) for word in ([piece] if piece.isdigit() else _WORD.findall(piece))]


def learn_merges(texts: Iterable[str], count: int) -> list[Pair]:
    """The `count` most frequent merges, ties broken by the letters, so the result depends on the text alone."""
    letters = byte_letters()
    counted = Counter(word for text in texts for word in words(text))
    seen = {word: times for word, times in counted.items() if times >= RARE}
    spelt = {word: [letters[byte] for byte in word.encode()] for word in seen}
    merges: list[Pair] = []
    while len(merges) < count:
        pairs: Counter[Pair] = Counter()
        for word, parts in spelt.items():
            for pair in pairwise(parts):
                pairs[pair] += seen[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelt = {word: _merged(parts, best) for word, parts in spelt.items()}
    return merges


def _merged(parts: list[str], pair: Pair) -> list[str]:
    out: list[str] = []
    i = 0
    while i < len(parts):
        together = tuple(parts[i : i + 2]) == pair
        out.append("".join(pair) if together else parts[i])
        i += 2 if together else 1
    return out


class Tokenizer:
    """Text to token ids and back; the ids are those of the GGUF vocabulary."""

    def __init__(self, merges: Sequence[Pair]) -> None:
        self.merges = list(merges)
        self.tokens = [*SPECIAL, *byte_letters(), *("".join(pair) for pair in merges)]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._letters = byte_letters()
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, special tokens recognised where they are spelt out."""
        out: list[int] = []
        for piece in _SPECIAL_PATTERN.split(text):
            if piece in SPECIAL:
                out.append(self.ids[piece])
            else:
                for word in words(piece):
                    out += self._word(word)
        return out

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become the replacement character."""
        byte_of = {letter: byte for byte, letter in enumerate(self._letters)}
        raw = bytearray()
        for i in ids:
            token = self.tokens[i]
            raw += token.encode() if token in SPECIAL else bytes(byte_of[letter] for letter in token)
        return raw.decode(errors="replace")

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            parts = [self._letters[byte] for byte in word.encode()]
            while ranked := self._ranks.keys() & pairwise(parts):
                parts = _merged(parts, min(ranked, key=self._ranks.__getitem__))
            self._known[word] = [self.ids[part] for part in parts]
        return self._known[word]
