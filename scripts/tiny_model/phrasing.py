"""How people write: frames for asking what something is, and the small disorder of typed text."""

from random import Random

DEFINITION_FRAMES = ("what is {it}", "what's {it}", "what are {it}", "explain {it}", "tell me about {it}",
                     "define {it}", "what does {it} mean", "what do you mean by {it}", "can you explain {it}",
                     "could you tell me what {it} is", "i don't understand {it}", "what is meant by {it}", "{it}",
                     "please explain {it}", "how would you describe {it}", "can you tell me about {it}",
                     "what exactly is {it}", "do you know what {it} is", "what is {it} in this relay",
                     "what does {it} do", "what is {it} for", "i want to know about {it}",
                     "tell me more about {it}", "in the relay, what is {it}", "explain what {it} is",
                     "explain in one sentence what {it} is", "can you tell me what {it} means", "describe {it}",
                     "in simple words, what is {it}", "give me a short explanation of {it}")  # fmt: skip
HELD_OUT_FRAMES = ("could you explain {it}", "please tell me what {it} is", "what would you say {it} is",
                   "help me understand {it}", "i wonder what {it} is")  # fmt: skip

OPENERS = ("hi, ", "hello, ", "hey, ", "ok, ", "well, ", "so, ", "please, ", "sorry, ", "hello! ", "thanks. ", "and ",
           "one more question: ", "another question: ", "i have a question: ", "hi there, ")  # fmt: skip
CLOSERS = (", please", " please", " in one sentence", " briefly", " in short", " for me", " again", ", thanks")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def as_typed(rng: Random, text: str) -> str:
    """`text` as someone might type it: an opener, a closer, a capital, a mark at the end, sometimes a slip."""
    if rng.random() < 0.12:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.06 and not text.endswith(("?", "=", " is")):
        text += rng.choice(CLOSERS)
    if rng.random() < 0.75:
        text = text[:1].upper() + text[1:]
    if text[-1:] not in ("?", "!", ".", ")"):
        text += (
            rng.choice(("?", "?", "?", "", ".", "")) if rng.random() < 0.95 else rng.choice((" ?", "??", "!", "..."))
        )
    if rng.random() < 0.05:
        text = _with_slip(rng, text)
    return text.upper() if rng.random() < 0.01 else text


def as_said(rng: Random, text: str) -> str:
    """`text` as a greeting or a remark: no question mark of its own."""
    if rng.random() < 0.7:
        text = text[:1].upper() + text[1:]
    return text if text[-1:] in "?!." else text + rng.choice(("", "", ".", "!"))


def made_up_word(rng: Random) -> str:
    """A word nobody knows, so that not knowing doesn't depend on a list of unknown things."""
    syllables = rng.randint(1, 3)
    return "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") + rng.choice(("", "n", "r", "s", "k"))
                   for _ in range(syllables))  # fmt: skip


def _with_slip(rng: Random, text: str) -> str:
    """One letter dropped, doubled or exchanged; digits are left alone, since they'd change the answer."""
    places = [i for i, letter in enumerate(text) if letter.isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + rng.choice(("", text[i] * 2, rng.choice(LETTERS))) + text[i + 1 :]
