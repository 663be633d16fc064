"""Small sums in many wordings. Each answer states the sum in digits first: a question is read, and then solved."""

from dataclasses import dataclass
from random import Random

LARGEST = 20
"""The largest operand the model is taught; beyond it the model says so instead of guessing."""

NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip

EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "+": ("{a} + {b}", "{a}+{b}", "{a} plus {b}", "{a} + {b}", "the sum of {a} and {b}", "{a} added to {b}",
          "{a} and {b} together", "{a} and {b} added up"),
    "-": ("{a} - {b}", "{a}-{b}", "{a} minus {b}", "{a} - {b}", "{b} subtracted from {a}", "{a} less {b}",
          "{b} taken from {a}", "{a} take away {b}"),
    "x": ("{a} * {b}", "{a}*{b}", "{a} x {b}", "{a}x{b}", "{a} times {b}", "{a} multiplied by {b}",
          "the product of {a} and {b}", "{a} × {b}"),
}  # fmt: skip

COMMANDS: dict[str, tuple[str, ...]] = {
    "+": ("add {a} and {b}", "add {a} to {b}", "sum {a} and {b}", "sum up {a} and {b}", "put {a} and {b} together"),
    "-": ("subtract {b} from {a}", "take {b} away from {a}", "take {b} from {a}", "take away {b} from {a}"),
    "x": ("multiply {a} by {b}", "multiply {a} and {b}", "multiply {a} with {b}"),
}

STORIES: dict[str, tuple[str, ...]] = {
    "+": ("I have {a} {things} and get {b} more. How many do I have", "There are {a} {things} and {b} more come. How "
          "many are there", "If I have {a} {things} and buy {b} more, how many {things} do I have"),
    "-": ("I have {a} {things} and lose {b}. How many are left", "There are {a} {things} and {b} go away. How many "
          "stay", "If I have {a} {things} and give away {b}, how many {things} do I have"),
    "x": ("I have {a} boxes with {b} {things} in each. How many {things} do I have", "There are {a} bags of {b} "
          "{things}. How many {things} are there", "If {a} friends bring {b} {things} each, how many are there"),
}  # fmt: skip

THINGS = ("apples", "books", "nodes", "coins", "tasks", "pens", "cards", "stones", "eggs", "cups", "oranges", "dogs")

LEADS = ("what is ", "what's ", "whats ", "how much is ", "calculate ", "compute ", "tell me ", "can you tell me ",
         "could you work out ", "can you work out ", "please calculate ", "please compute ", "solve ", "work out ",
         "do you know what {it} is", "what does {it} make", "what does {it} equal", "what do you get for ", "",
         "", "evaluate ", "give me ", "what would be ", "i need to know ", "find ", "what is the result of ",
         "what is the answer to ", "how much does {it} make", "please tell me ", "can you do ", "let us try ",
         "the answer to {it} is", "what is the value of ", "can you calculate ", "just answer: ", "quick question: ",
         "{it} is", "{it} equals", "{it} =")  # fmt: skip
COMMAND_LEADS = ("", "please ", "can you ", "could you ", "could you please ", "now ", "i want you to ", "would you ")

HELD_OUT_LEADS = ("please work out ", "could you tell me ", "any chance you know ", "what will {it} be",
                  "can you solve ", "i would like to know ", "how much would {it} be", "i wonder what {it} is",
                  "any idea what {it} is")  # fmt: skip
HELD_OUT_EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "+": ("{a} + {b}", "{a} plus {b}", "the sum of {a} and {b}", "{a} added to {b}"),
    "-": ("{a} - {b}", "{a} minus {b}", "{b} subtracted from {a}", "{a} take away {b}"),
    "x": ("{a} * {b}", "{a} x {b}", "{a} times {b}", "{a} multiplied by {b}"),
}

ANSWERS = ("{sum} = {c}.", "{sum} = {c}.", "{sum} = {c}.", "That is {sum} = {c}.", "It is easy: {sum} = {c}.")
TOO_LARGE = (
    "That is too large for me. I only know sums with numbers up to twenty.",
    "Sorry, I can only add, subtract and multiply numbers up to twenty.",
)
ONLY_TWO = ("I can only work with two numbers at a time.", "Two numbers at a time, please. More is too hard for me.")
NO_DIVISION = (
    "I can add, subtract and multiply small numbers, but I can't divide.",
    "Sorry, I have not learned to divide. I can add, subtract and multiply.",
)


@dataclass(frozen=True)
class Sum:
    """Two operands and one of the operators "+", "-" and "x"."""

    a: int
    op: str
    b: int

    @property
    def result(self) -> int:
        """The right answer; it may be below zero."""
        return {"+": self.a + self.b, "-": self.a - self.b, "x": self.a * self.b}[self.op]

    def __str__(self) -> str:
        return f"{self.a} {self.op} {self.b}"


def random_sum(rng: Random) -> Sum:
    """Multiplication comes oftener: its table is the hardest to learn. Half of all operands are ten or less."""
    op = rng.choice("++--xxx")
    a, b = (rng.randint(0, LARGEST if rng.random() < 0.7 else 10) for _ in range(2))
    if op == "-" and a < b and rng.random() < 0.7:
        a, b = b, a
    return Sum(a, op, b)


def sum_question(rng: Random, asked: Sum) -> str:
    """Any wording of the training text."""
    kind = rng.random()
    if kind < 0.18:
        return rng.choice(COMMAND_LEADS) + _fill(rng, rng.choice(COMMANDS[asked.op]), asked)
    if kind < 0.26:
        return _fill(rng, rng.choice(STORIES[asked.op]), asked) + "?"
    return _lead(rng.choice(LEADS), _fill(rng, rng.choice(EXPRESSIONS[asked.op]), asked))


def held_out_question(rng: Random, asked: Sum) -> str:
    """A wording whose lead never stands in the training text."""
    wording = rng.choice(HELD_OUT_EXPRESSIONS[asked.op])
    return _lead(rng.choice(HELD_OUT_LEADS), _fill(rng, wording, asked)) + "?"


def sum_answer(rng: Random, asked: Sum) -> str:
    """The sum in digits and its result, which is always the last number."""
    return rng.choice(ANSWERS).format(sum=asked, c=asked.result)


def too_large(rng: Random) -> tuple[str, str]:
    """A sum beyond the table, a division or a chain of operators, and the honest answer to it."""
    large = rng.choice((rng.randint(21, 99), rng.randint(100, 9999)))
    other = rng.choice((rng.randint(0, 20), rng.randint(21, 999)))
    a, b = (large, other) if rng.random() < 0.5 else (other, large)
    kind = rng.random()
    if kind < 0.2:
        parts = (
            str(rng.randint(0, 20)) + rng.choice((" + ", "+", " plus ", " - ", " * "))
            for _ in range(rng.choice((2, 2, 3)))
        )
        return _lead(rng.choice(LEADS), "".join(parts) + str(rng.randint(0, 20))), rng.choice(ONLY_TWO)
    if kind < 0.5:
        a, b = rng.randint(0, 40), rng.randint(1, 20)
        wording = rng.choice(("{a} / {b}", "{a}/{b}", "{a} divided by {b}", "{a} : {b}", "{a} over {b}"))
        return _lead(rng.choice(LEADS), wording.format(a=a, b=b)), rng.choice(NO_DIVISION)
    wording = rng.choice(EXPRESSIONS[rng.choice("+-x")])
    return _lead(rng.choice(LEADS), wording.format(a=a, b=b)), rng.choice(TOO_LARGE)


def _lead(lead: str, expression: str) -> str:
    return lead.format(it=expression) if "{it}" in lead else lead + expression


def _fill(rng: Random, wording: str, asked: Sum) -> str:
    in_words = rng.random() < 0.3 and "}+{" not in wording
    a, b = (NUMBER_WORDS[n] if in_words else str(n) for n in (asked.a, asked.b))
    return wording.format(a=a, b=b, things=rng.choice(THINGS))
