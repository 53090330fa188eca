"""Numbers: sums, word problems, comparing and counting."""

from starter.chat.templates import Draw, Split, Turn, wordings
from starter.chat.world import FOOD, NUMBER_WORDS, PEOPLE, PLACES, THINGS

LIMIT = 100

_PLUS = wordings(
    "What is {a} [plus|+|and] {b}?", "What's {a} [plus|+] {b}?", "{a} [plus|+] {b}", "{a} + {b} =", "{a}+{b}",
    "{a}+{b}=?", "{a} + {b}?", "What is {a}+{b}?", "Calculate {a} [plus|+] {b}.", "Compute {a} [plus|+] {b}.",
    "How much is {a} [plus|+|and] {b}?", "Work out {a} [plus|+] {b}.", "Add {a} and {b}.", "Add {b} to {a}.",
    "Can you add {a} and {b}?", "Solve {a} + {b}.", "What do you get if you add {a} and {b}?",
    "Tell me what {a} [plus|+] {b} is.", "What is the sum of {a} and {b}?", "what is {a} [plus|+] {b}",
    "Sum {a} and {b}.", "What does {a} + {b} equal?",
    held=(
        "Please work out {a} [plus|+] {b}.", "Can you tell me what {a} [plus|+] {b} is?",
        "How much do you get for {a} + {b}?", "Give me the sum of {a} and {b}.",
    ),
)  # fmt: skip
_MINUS = wordings(
    "What is {a} [minus|-] {b}?", "What's {a} [minus|-] {b}?", "{a} [minus|-] {b}", "{a} - {b} =", "{a}-{b}",
    "{a}-{b}=?", "{a} - {b}?", "What is {a}-{b}?", "Calculate {a} [minus|-] {b}.", "Compute {a} [minus|-] {b}.",
    "How much is {a} [minus|-] {b}?", "Work out {a} [minus|-] {b}.", "Subtract {b} from {a}.",
    "Take {b} from {a}.", "Can you subtract {b} from {a}?", "Solve {a} - {b}.",
    "What do you get if you take {b} from {a}?", "Tell me what {a} [minus|-] {b} is.",
    "What is the difference of {a} and {b}?", "what is {a} [minus|-] {b}", "What does {a} - {b} equal?",
    held=(
        "Please work out {a} [minus|-] {b}.", "Can you tell me what {a} [minus|-] {b} is?",
        "How much do you get for {a} - {b}?", "Please subtract {b} from {a}.",
    ),
)  # fmt: skip
_TIMES = wordings(
    "What is {a} [times|x|*] {b}?", "What's {a} [times|x|*] {b}?", "{a} [times|x|*] {b}", "{a} x {b} =",
    "{a}x{b}", "{a}*{b}", "Calculate {a} [times|x|*] {b}.", "Compute {a} [times|x|*] {b}.",
    "How much is {a} [times|x|*] {b}?", "Work out {a} [times|x] {b}.", "Multiply {a} by {b}.",
    "Multiply {a} and {b}.", "What is the product of {a} and {b}?", "Solve {a} [x|*] {b}.",
    "Tell me what {a} [times|x] {b} is.", "what is {a} [times|x|*] {b}", "What is {a} multiplied by {b}?",
    "What is {a}*{b}?",
    held=(
        "Please work out {a} [times|x] {b}.", "Can you tell me what {a} times {b} is?",
        "Please multiply {a} by {b}.",
    ),
)  # fmt: skip


def written_sum(a: int, b: int) -> str:
    """A sum with its carry written out when both numbers have two digits: `27 + 45 = 67 + 5 = 72`."""
    return _written(a, b, "+")


def written_difference(a: int, b: int) -> str:
    """A difference with its step written out when both numbers have two digits: `72 - 45 = 32 - 5 = 27`."""
    return _written(a, b, "-")


def _brief(written: str) -> str:
    """The result alone, or with its step where it takes one."""
    return written if written.count("=") > 1 else written.rpartition(" ")[2]


def _written(a: int, b: int, sign: str) -> str:
    direction = 1 if sign == "+" else -1
    ones = b % 10
    if a >= 10 and b >= 10 and ones:
        step = a + direction * (b - ones)
        return f"{a} {sign} {b} = {step} {sign} {ones} = {step + direction * ones}"
    return f"{a} {sign} {b} = {a + direction * b}"


def ask_arithmetic(draw: Draw) -> Turn:
    """Addition and subtraction of numbers up to 100, and the times table to ten."""
    sign = draw.rng.choice("++--x")
    if sign == "x":
        pairs = [(x, y) for x in range(11) for y in range(11)]
        (a, b), pattern = draw.fact("times", pairs, _TIMES)
        return Turn(draw.fill(pattern, a=a, b=b), f"{a} x {b} = {a * b}.", str(a * b))
    if draw.split is Split.TRAIN and draw.chance(0.06):
        return _small_words(draw, sign)
    a, b = draw.slot(sign, lambda: _pair(draw, sign))
    if sign == "+":
        return Turn(draw.say(_PLUS, a=a, b=b), written_sum(a, b) + ".", _brief(written_sum(a, b)))
    return Turn(draw.say(_MINUS, a=a, b=b), written_difference(a, b) + ".", _brief(written_difference(a, b)))


def _pair(draw: Draw, sign: str) -> tuple[int, int]:
    largest = 20 if draw.chance(0.25) else LIMIT
    if sign == "+" and draw.chance(0.15):
        return draw.rng.randint(10, LIMIT), draw.rng.randint(10, LIMIT)
    total = draw.rng.randint(0, largest)
    part = draw.rng.randint(0, total)
    return (part, total - part) if sign == "+" else (total, part)


def _small_words(draw: Draw, sign: str) -> Turn:
    a, b = draw.rng.randint(0, 10), draw.rng.randint(0, 10)
    if sign == "-" and b > a:
        a, b = b, a
    word, result = ("plus", a + b) if sign == "+" else ("minus", a - b)
    question = draw.fill(
        "[What is|How much is|Calculate|] {a} {w} {b}[?|]", a=NUMBER_WORDS[a], b=NUMBER_WORDS[b], w=word
    )
    return Turn(question.strip(), f"{a} {sign} {b} = {result}.", str(result))


_GAIN = wordings(
    "There are {a} {t} in {pl}. {p} [adds|brings|puts in] {b} more. How many {t} are there now?",
    "{p} has {a} {t}. {q} gives {p} {b} more. How many {t} does {p} have now?",
    "{p} had {a} {t} and found {b} more. How many {t} does {p} have now?",
    "{p} has {a} {t} and [buys|gets|finds] {b} more. How many {t} now?",
    "{p} has {a} {t}. {p} [buys|gets|finds] {b} more. How many {t} does {p} have?",
    "{q} has {a} {t}. {q} [wins|makes|collects] {b} more {t}. How many {t} does {q} have in the end?",
    "I have {a} {t}. I [buy|get|find] {b} more. How many {t} do I have now?",
    "There were {a} {t} in {pl}. {p} added {b}. How many {t} are in {pl} now?",
    "If {p} has {a} {t} and [gets|buys] {b} more, how many {t} does {p} have?",
    "There are {a} {t}. Then {b} more {t} [come|arrive]. How many {t} are there?",
    held=(
        "{p} owns {a} {t} and receives {b} more. How many {t} does {p} have now?",
        "In {pl} there are {a} {t}. {p} brings {b} more. How many {t} are there now?",
        "{p} had {a} {t}. Then {q} gave {p} {b} more. How many {t} are there now?",
    ),
)  # fmt: skip
_TOGETHER = wordings(
    "{p} has {a} {t} and {q} has {b} {t}. How many {t} do they have together?",
    "There are {a} red {t} and {b} blue {t}. How many {t} are there [in total|altogether|in all]?",
    "{p} has {a} {t}. {q} has {b} {t}. How many {t} in total?",
    "There are {a} {t} in {pl} and {b} {t} on the table. How many {t} are there in total?",
    "I have {a} {t} and {p} has {b}. How many {t} do we have together?",
    "{p} sees {a} {t} and then {b} {t}. How many {t} did {p} see in total?",
    "{p} has {a} big {t} and {b} small {t}. How many {t} does {p} have in total?",
    "How many {t} are {a} {t} and {b} {t} together?",
    held=(
        "If {p} has {a} {t} and {q} has {b}, how many {t} do they have in all?",
        "{p} and {q} have {a} and {b} {t}. How many {t} do they have together?",
        "There are {a} old {t} and {b} new {t}. How many {t} are there altogether?",
    ),
)  # fmt: skip
_LOSS = wordings(
    "There are {a} {t} in {pl}. {p} takes {b}. How many {t} are there now?",
    "{p} has {a} {t}. {p} {v} {b}. How many {t} are left?",
    "{p} has {a} {t} and {v} {b} of them. How many {t} does {p} have now?",
    "There are {a} {t} in {pl}. {p} {v} {b} of them. How many {t} are left?",
    "{p} has {a} {t} and {v} {b}. How many {t} does {p} have?",
    "{p} has {a} {t}. {p} gives {b} to {q}. How many {t} does {p} have left?",
    "There were {a} {t} in {pl}. {p} took {b} away. How many {t} are in {pl} now?",
    "If {p} has {a} {t} and {v} {b}, how many {t} are left?",
    "I have {a} {t}. I [lose|sell|give away] {b}. How many {t} do I have now?",
    "{q} has {a} {t}. {b} of them are lost. How many {t} are left?",
    "{p} has {a} {t}. {p} {v} {b} {t}. How many {t} does {p} still have?",
    held=(
        "{p} had {a} {t} but {v} {b}. How many {t} remain?",
        "From {a} {t} in {pl}, {p} takes {b}. How many {t} are left?",
        "{p} has {a} {t}. Then {p} {v} {b} of them. How many {t} remain?",
    ),
)  # fmt: skip
_STILL = wordings(
    "There are {a} {t} in {pl}. {p} {v} {b}. How many {t} are there now?",
    "There are {a} {t} in {pl}. {p} {v} {b} of them. How many {t} are left?",
    "{p} has {a} {t} and {v} {b} of them. How many {t} does {p} have now?",
    "{p} has {a} {t}. {p} {v} {b}. How many {t} are there?",
    "There were {a} {t} in {pl}. {q} {v} {b} of them. How many {t} are in {pl} now?",
    "{q} has {a} {t} and {v} {b}. How many {t} does {q} still have?",
    "If there are {a} {t} and {p} {v} {b}, how many {t} are there?",
    held=(
        "{p} has {a} {t}. {q} {v} {b} of them. How many {t} remain?",
        "In {pl} there are {a} {t}. {p} {v} {b}. How many {t} are left?",
    ),
)  # fmt: skip
_LOSING = ("loses", "gives away", "sells", "breaks", "throws away")
_LOOKING = ("counts", "looks at", "touches", "paints", "sees", "draws")


def ask_word_problem(draw: Draw) -> Turn:
    """A small story about things that come, go or stay."""
    kind = draw.rng.choice(("gain", "loss", "loss", "together", "still"))
    adds = kind in ("gain", "together")
    a, b = draw.slot(f"word-{kind}", lambda: _pair(draw, "+" if adds else "-"))
    things, place = draw.rng.choice(THINGS), draw.rng.choice(PLACES)
    person, other = draw.rng.sample(PEOPLE, 2)
    losing = _LOSING + (("eats", "eats") if things in FOOD else ())
    looking = _LOOKING + (("reads",) * 4 if things == "books" else ())
    verb = draw.rng.choice(looking if kind == "still" else losing)
    choices = {"gain": _GAIN, "loss": _LOSS, "together": _TOGETHER, "still": _STILL}[kind]
    question = draw.say(choices, a=a, b=b, t=things, p=person, q=other, pl=place, v=verb)
    if kind == "still":
        return Turn(
            question, f"No {things} were taken away. There are still {a} {things}.", str(a), loud=False
        )
    written = written_sum(a, b) if adds else written_difference(a, b)
    result = a + b if adds else a - b
    ending = "in total" if kind == "together" else "now"
    return Turn(question, f"{written}. There are {result} {things} {ending}.", _brief(written), loud=False)


_EXTREME = wordings(
    "Which is {w}, {a} or {b}?", "Which number is {w}: {a} or {b}?", "What is {w}, {a} or {b}?",
    "What is {w}: {a} or {b}?", "Is {a} or {b} {w}?", "Which one is {w}, {a} or {b}?",
    "{a} or {b}, which is {w}?", "Of {a} and {b}, which is {w}?", "Which is the {w} number, {a} or {b}?",
    held=("Tell me which is {w}, {a} or {b}.", "Between {a} and {b}, which is {w}?"),
)  # fmt: skip
_NEIGHBOUR = wordings(
    "What number comes {w} {a}?", "Which number comes {w} {a}?", "What comes {w} {a}?",
    "Which number is [right |just |]{w} {a}?", "What is the number {w} {a}?", "Tell me the number {w} {a}.",
    "What number is {w} {a}?",
    held=("Name the number {w} {a}.", "Give me the number that comes {w} {a}."),
)  # fmt: skip
_PARITY = wordings(
    "Is {a} even or odd?", "Is {a} odd or even?", "Is the number {a} [odd or even|even or odd]?",
    "Is {a} an even number or an odd number?", "Is {a} an odd or an even number?", "Even or odd: {a}?",
    "{a}: even or odd?", "What is {a}, even or odd?",
    held=("Tell me if {a} is even or odd.", "Would you call {a} odd or even?"),
)  # fmt: skip
_COUNT = wordings(
    "Count to {b}.", "Count from 1 to {b}.", "Please count to {b}.", "Count to {b}", "count to {b}",
    "Count up to {b}.", "Can you count to {b}?", "List the numbers from 1 to {b}.",
    "Say the numbers from 1 to {b}.", "Write the numbers from 1 to {b}.", "Give me the numbers 1 to {b}.",
    "Write the numbers 1 to {b}.",
    held=("Can you count up to {b}?", "Start at 1 and count to {b}.", "Show me the numbers from 1 to {b}."),
)  # fmt: skip
_COUNT_FROM = wordings(
    "Count from {a} to {b}.", "List the numbers from {a} to {b}.", "Please count from {a} to {b}.",
    "Say the numbers from {a} to {b}.", "Write the numbers {a} to {b}.", "Can you count from {a} to {b}?",
    held=("Start at {a} and count to {b}.", "Show me the numbers from {a} to {b}."),
)  # fmt: skip
_COUNT_DOWN = wordings(
    "Count down from {b}.", "Count down from {b} to 1.", "Count from {b} to 1.", "Count backwards from {b}.",
    "Please count down from {b}.", "Count backwards from {b} to 1.",
    held=("Can you count down from {b}?", "Do a countdown from {b}."),
)  # fmt: skip


_ROUND = [ten + one for ten in range(10, 100, 10) for one in (-1, 0)]
"""Where the number before or after has another first digit."""


def ask_compare(draw: Draw) -> Turn:
    """Bigger or smaller, before or after, even or odd, and counting."""
    kind = draw.rng.choice(("extreme", "neighbour", "parity", "count", "count"))
    if kind == "count":
        return _ask_count(draw)
    tens = kind == "neighbour" and draw.chance(0.3)
    a, b = draw.slot(kind, lambda: tuple(draw.rng.sample(_ROUND if tens else range(1, 100), 2)))
    if kind == "extreme":
        word = draw.rng.choice(("bigger", "smaller", "larger"))
        answer = min(a, b) if word == "smaller" else max(a, b)
        return Turn(draw.say(_EXTREME, a=a, b=b, w=word), f"{answer} is {word}.", str(answer))
    if kind == "neighbour":
        word = draw.rng.choice(("after", "before"))
        answer = a + 1 if word == "after" else a - 1
        return Turn(draw.say(_NEIGHBOUR, a=a, w=word), f"{answer} comes {word} {a}.", str(answer))
    answer_word = "odd" if a % 2 else "even"
    return Turn(draw.say(_PARITY, a=a), f"{a} is {answer_word}.", answer_word)


def _ask_count(draw: Draw) -> Turn:
    kind = draw.rng.choice(("up", "up", "from", "down"))
    if kind == "from":
        a, length = draw.slot("from", lambda: (draw.rng.randint(2, 89), draw.rng.randint(3, 10)))
        numbers = range(a, a + length)
        question = draw.say(_COUNT_FROM, a=a, b=a + length - 1)
    else:
        choices = _COUNT if kind == "up" else _COUNT_DOWN
        last, pattern = draw.fact(kind, range(3, 21), choices)
        numbers = range(1, last + 1) if kind == "up" else range(last, 0, -1)
        in_words = draw.split is Split.TRAIN and draw.chance(0.15)
        question = draw.fill(pattern, b=NUMBER_WORDS[last] if in_words else last)
    text = ", ".join(map(str, numbers))
    return Turn(question, text + ".", text)
