"""What isn't a question of its own: system prompts, follow-ups to the turn before, and repeating words."""

from random import Random

from scripts.tiny_model.phrasing import as_said, as_typed, made_up_word
from scripts.tiny_model.sums import LARGEST, NUMBER_WORDS, Sum, random_sum, sum_answer, sum_question

Pair = tuple[str, str]

SYSTEM_LINES = (
    "You are a helpful assistant.", "You are Tiny Chat.", "You are a friendly assistant.", "Answer briefly.",
    "Be concise.", "Answer in one sentence.", "You are an expert on the relay.", "Be polite and short.",
    "Do not make things up.", "If you don't know, say so.", "You help people with questions about the relay.",
    "You are a calculator.", "Always tell the truth.", "Use simple words.", "You are a test assistant.",
    "Today is a fine day.", "Reply in English.", "Think before you answer.", "You work for the support team.",
    "Never talk about politics.", "The user is a developer.", "Keep the answer under twenty words.",
    "You are a careful assistant who answers questions about tasks and nodes.", "Respond with plain text.",
    "Stop after the answer.", "Do not use lists.", "The conversation is public.", "You are an AI model.",
)  # fmt: skip

PEOPLE = ("Sam", "Anna", "Max", "Lena", "Tom", "Maria", "Ben", "Eva", "Paul", "Nina", "Leo", "Mia", "Jack", "Olga",
          "Ivan", "Kim", "Alex", "Sara", "Omar", "Lucy", "Emma", "Noah", "Ali", "Zoe")  # fmt: skip
WORDS = ("apple", "blue", "river", "node", "task", "green", "seven", "hello", "lamp", "stone", "music", "cloud", "red",
         "orange", "table", "window", "garden", "paper", "yes", "no", "ok", "done", "ready", "moon", "star",
         "banana", "test", "cat", "dog", "bird", "tree", "house", "water", "fire", "relay", "pong")  # fmt: skip

ECHO_FRAMES = ("say {it}", "repeat {it}", "repeat after me: {it}", "please say {it}", "echo {it}", "reply with {it}",
               "just say {it}", "say the word {it}", "answer with {it}", "reply with exactly: {it}", "say: {it}",
               "repeat this: {it}", "write {it}", "print {it}", "respond with {it}", "can you say {it}",
               "reply only with {it}", "say exactly {it}")  # fmt: skip


def system_prompt(rng: Random) -> str:
    """One to five sentences, now and then with words nobody knows, none of which should upset the model."""
    lines = rng.sample(SYSTEM_LINES, rng.choice((1, 1, 1, 2, 2, 3, 5)))
    if rng.random() < 0.15:
        lines.append(" ".join(made_up_word(rng) for _ in range(rng.randint(3, 20))).capitalize() + ".")
    return " ".join(lines)


def echo(rng: Random) -> Pair:
    """Some words to repeat, known ones and made-up ones; or counting, which is how one gets a longer answer."""
    if rng.random() < 0.15:
        last = rng.randint(2, 12) if rng.random() < 0.6 else rng.randint(13, 40)
        frame = rng.choice(("count to {n}", "count from 1 to {n}", "count up to {n}", "please count to {n}"))
        asked = frame.format(n=NUMBER_WORDS[last] if last <= LARGEST and rng.random() < 0.4 else last)
        return as_typed(rng, asked), ", ".join(str(n) for n in range(1, last + 1)) + "."
    words = [rng.choice(WORDS) if rng.random() < 0.6 else made_up_word(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
    text = " ".join(words)
    quote = rng.choice(("", "", "'", '"'))
    asked = rng.choice(ECHO_FRAMES).format(it=quote + text + quote)
    return (asked if rng.random() < 0.5 else asked[:1].upper() + asked[1:]) + rng.choice(("", "", ".")), text


def many_sums(rng: Random) -> Pair:
    """Several sums in one turn: the cheapest way to meet every entry of the tables often."""
    asked = [
        Sum(rng.randint(0, LARGEST), rng.choice("+-xxx"), rng.randint(0, LARGEST)) for _ in range(rng.randint(3, 14))
    ]
    answer = ", ".join(f"{one} = {one.result}" for one in asked) + "."
    if rng.random() < 0.7:
        return rng.choice(
            ("show me some sums", "give me some sums", "practise sums", "sums please", "some sums")
        ), answer
    return ", ".join(str(one) for one in asked), answer


def follow_up(rng: Random) -> list[Pair]:
    """Two or three turns of which the later ones only make sense after the first."""
    return rng.choice((_more_sums, _chained_sum, _are_you_sure, _name, _again))(rng)


def _first_sum(rng: Random) -> tuple[Sum, Pair]:
    asked = random_sum(rng)
    return asked, (as_typed(rng, sum_question(rng, asked)), sum_answer(rng, asked))


def _more_sums(rng: Random) -> list[Pair]:
    """A second sum, as in "and 3 + 4?"."""
    _, first = _first_sum(rng)
    after = random_sum(rng)
    asked = rng.choice(("and {s}?", "what about {s}?", "now {s}", "and what is {s}?", "then {s}?", "how about {s}?"))
    return [first, (as_said(rng, asked.format(s=after)), sum_answer(rng, after))]


def _chained_sum(rng: Random) -> list[Pair]:
    """As in "add 3 to that": the result before is the operand now, as long as it is small enough to be known."""
    before, first = _first_sum(rng)
    if not 0 <= before.result <= LARGEST:
        before = Sum(rng.randint(0, 10), "+", rng.randint(0, 10))
        first = (as_typed(rng, sum_question(rng, before)), sum_answer(rng, before))
    after = Sum(before.result, rng.choice("+-x"), rng.randint(0, 10))
    frames = {
        "+": ("add {b}", "plus {b}?", "add {b} to that", "and plus {b}?", "now add {b}"),
        "-": ("minus {b}?", "subtract {b}", "take away {b}", "now subtract {b} from that", "and minus {b}?"),
        "x": ("times {b}?", "multiply that by {b}", "now times {b}", "and times {b}?", "multiply by {b}"),
    }
    return [first, (as_said(rng, rng.choice(frames[after.op]).format(b=after.b)), sum_answer(rng, after))]


def _are_you_sure(rng: Random) -> list[Pair]:
    before, first = _first_sum(rng)
    asked = rng.choice(("are you sure?", "is that right?", "really?", "is that correct?", "sure?"))
    return [first, (as_said(rng, asked), f"Yes, {before} = {before.result}.")]


def _again(rng: Random) -> list[Pair]:
    before, first = _first_sum(rng)
    asked = rng.choice(("say that again", "can you repeat that?", "what did you say?", "again please", "repeat that"))
    return [first, (as_said(rng, asked), f"{before} = {before.result}.")]


def _name(rng: Random) -> list[Pair]:
    """A name given in one turn and asked for in a later one."""
    name = rng.choice(PEOPLE) if rng.random() < 0.6 else made_up_word(rng).capitalize()
    given = rng.choice(
        ("my name is {n}", "I am {n}", "hi, I am {n}", "hello, my name is {n}", "call me {n}", "I'm {n}")
    )
    asked = rng.choice(("what is my name?", "do you know my name?", "who am I?", "what's my name?", "say my name"))
    between = [_first_sum(rng)[1]] if rng.random() < 0.4 else []
    greeting = rng.choice((f"Hello {name}! How can I help you?", f"Nice to meet you, {name}!"))
    return [(as_said(rng, given.format(n=name)), greeting), *between, (as_said(rng, asked), f"Your name is {name}.")]
