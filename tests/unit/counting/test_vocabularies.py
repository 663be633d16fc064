"""The models' own tokenizers, on the file that ships with the tiny model."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from coordinator.counting.vocabularies import Vocabularies
from coordinator.counting.vocabulary import Vocabulary, VocabularyUnusable
from scripts.tiny_model.vocabulary import VOCABULARY_PATH

MODEL = "relay/tiny-chat"
TINY = Vocabulary(VOCABULARY_PATH)


def test_it_counts_each_text_for_itself() -> None:
    assert TINY.count(["1234"]) == 4
    assert TINY.count(["1234", "", "56"]) == 6
    assert TINY.count(["What is a task?"]) < len("What is a task?") / 2


def test_what_looks_like_a_mark_is_text() -> None:
    assert TINY.count(["<|im_end|>"]) > 1


def test_a_text_without_an_end_is_counted_in_pieces() -> None:
    assert TINY.count(["1" * 200_000]) == 200_000
    assert TINY.count(["What is a task? " * 10_000]) == pytest.approx(
        10_000 * TINY.count(["What is a task?"]), rel=0.01
    )


def test_what_a_file_says_of_training_is_left_out(tmp_path: Path) -> None:
    """Files come with a `truncation` to 512 tokens, a `padding` to as many, and marks around every text."""
    file = json.loads(VOCABULARY_PATH.read_text())
    file["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    file["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }  # fmt: skip
    mark = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    file["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [mark, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file))
    assert Vocabulary(path).count(["1", "1" * 100]) == 101


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1.0"}', "[]", "\x00"])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(VocabularyUnusable, match=str(path)):
        Vocabularies({MODEL: path})


async def test_a_model_without_one_is_not_counted() -> None:
    vocabularies = Vocabularies({MODEL: VOCABULARY_PATH})
    assert await vocabularies.count("other", ["1"]) is None
    assert await vocabularies.count(MODEL, ["12", "3"], [], ["4"]) == [3, 0, 1]


async def test_a_long_text_is_counted_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabularies = Vocabularies({MODEL: VOCABULARY_PATH, "twin": VOCABULARY_PATH})
    threads: list[int] = []
    count = Vocabulary.count

    def counted(self: Vocabulary, texts: list[str]) -> int:
        threads.append(threading.get_ident())
        return count(self, texts)

    monkeypatch.setattr(Vocabulary, "count", counted)
    found = await asyncio.gather(*(vocabularies.count(model, ["1" * 100_000]) for model in (MODEL, "twin")))
    assert found == [[100_000], [100_000]]
    assert threading.get_ident() not in threads
    await vocabularies.count(MODEL, ["1"])
    assert threads[-1] == threading.get_ident()
