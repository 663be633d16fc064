"""The training text is the same each time and right; the shipped file is the one that its card describes."""

import hashlib
import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from scripts.tiny_model.exam import last_number
from scripts.tiny_model.phrasing import DEFINITION_FRAMES, HELD_OUT_FRAMES, OPENERS, as_typed
from scripts.tiny_model.sums import EXPRESSIONS, HELD_OUT_LEADS, NUMBER_WORDS, Sum, random_sum, sum_answer, sum_question
from scripts.tiny_model.text import ALL_TOPICS, conversations, relay_exchange
from scripts.tiny_model.tokenizer import Tokenizer, learn_merges

MODEL = Path(__file__).resolve().parents[3] / "node" / "inference" / "tiny-chat.gguf"
SHIPPED_LIMIT = 4 * 1024 * 1024


def test_the_same_seed_writes_the_same_text() -> None:
    assert list(islice(conversations(5), 50)) == list(islice(conversations(5), 50))
    assert list(islice(conversations(5), 50)) != list(islice(conversations(6), 50))


def test_every_sum_in_the_training_text_is_right() -> None:
    stated = re.compile(r"(-?\d+) ([-+x]) (\d+) = (-?\d+)")
    found = 0
    for conversation in islice(conversations(1), 600):
        for message in conversation:
            for a, op, b, result in stated.findall(message.content):
                assert Sum(int(a), op, int(b)).result == int(result), message
                found += 1
    assert found > 200


def test_an_answer_ends_with_the_result() -> None:
    rng = Random(3)
    for asked in (random_sum(rng) for _ in range(200)):
        assert last_number(sum_answer(rng, asked)) == asked.result


@pytest.mark.parametrize(("asked", "result"), [(Sum(7, "+", 5), 12), (Sum(3, "-", 9), -6), (Sum(12, "x", 11), 132)])
def test_a_sum_knows_its_result(asked: Sum, result: int) -> None:
    assert asked.result == result


def test_number_words_stand_at_their_number() -> None:
    assert [NUMBER_WORDS[n] for n in (0, 7, 12, 20)] == ["zero", "seven", "twelve", "twenty"]


def test_what_is_held_out_is_not_trained() -> None:
    held_out = [wording.split("{it}")[0] for wording in HELD_OUT_LEADS]
    whole = {topic.questions[-1].lower() for topic in ALL_TOPICS}
    rng = Random(1)
    for _ in range(2000):
        asked, about = as_typed(rng, sum_question(rng, random_sum(rng))).lower(), relay_exchange(rng)[0].lower()
        assert not any(lead in asked for lead in held_out)
        assert about.strip("?.! ") not in whole
    openings = tuple(frame.split("{it}")[0] for frame in HELD_OUT_FRAMES)
    assert not any((opener + frame).startswith(openings) for opener in ("", *OPENERS) for frame in DEFINITION_FRAMES)


def test_every_answer_about_the_relay_names_its_topic() -> None:
    for topic in ALL_TOPICS:
        for answer in topic.answers:
            assert topic.keyword.lower() in answer.lower()


def test_every_operator_has_wordings_with_both_operands() -> None:
    assert all("{a}" in wording and "{b}" in wording for wordings in EXPRESSIONS.values() for wording in wordings)


def test_the_tokenizer_gives_back_what_it_was_given() -> None:
    tokenizer = Tokenizer(learn_merges(["what is a task? a task is what a client asked for."] * 20, 30))
    for text in ("what is 12 × 3?", "<|im_start|>user\nhéllo  there<|im_end|>\n", '{\n  "a": 1}'):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("1234")) == 4


def test_the_shipped_file_is_a_small_gguf() -> None:
    assert MODEL.stat().st_size <= SHIPPED_LIMIT
    assert MODEL.read_bytes()[:4] == b"GGUF"


def test_the_card_describes_the_shipped_file() -> None:
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert f"`{digest}`" in MODEL.with_suffix(".md").read_text()
