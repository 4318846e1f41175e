"""The arithmetic the tiny model is trained on, and the split that keeps its tests honest.

A completion works its problem out in steps that are all equal, one line a problem:
`457+386=` -> `700+130+13=843`, `57*38=` -> `50*30+50*8+7*30+7*8=1500+400+210+56=1900+266=2166`.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

__all__ = ["Problem", "draw_problem", "final_answer", "generate_problems", "is_held_out"]

HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: `prompt` ends in `=`, `solution` is the worked form, ending in a newline."""

    prompt: str
    answer: int
    solution: str


def generate_problems(n: int, seed: int, held_out: bool = True) -> list[Problem]:
    """`n` different problems, the same for the same `seed`.

    With `held_out` they are problems the model has never been trained on; without, the other ones.
    """
    rng = random.Random(seed)
    problems: dict[str, Problem] = {}
    while len(problems) < n:
        problem = draw_problem(rng, held_out)
        problems[problem.prompt] = problem
    return list(problems.values())


def draw_problem(rng: random.Random, held_out: bool) -> Problem:
    """One random problem from the asked side of the split; repeats are possible."""
    while True:
        problem = rng.choice(_KINDS)(rng)
        if is_held_out(problem.prompt) == held_out:
            return problem


def is_held_out(prompt: str) -> bool:
    """Whether the problem is kept out of training: a property of its text, so no list is needed."""
    return zlib.crc32(prompt.encode()) % 1000 < HELD_OUT_SHARE * 1000


def final_answer(completion: str) -> int | None:
    """The number after the last `=` of the completion's first line, or `None` if there is none."""
    answer = completion.partition("\n")[0].rpartition("=")[2]
    return int(answer) if answer.isascii() and answer.isdigit() else None


def _addition(rng: random.Random) -> Problem:
    a, b = _operand(rng), _operand(rng)
    by_place = [(a // place % 10 + b // place % 10) * place for place in (100, 10, 1)]
    return _problem(f"{a}+{b}", [_sum(by_place)], a + b)


def _subtraction(rng: random.Random) -> Problem:
    b, a = sorted((_operand(rng), _operand(rng)))
    places, rest, steps = _places(b), a, []
    while places:
        rest -= places.pop(0)
        steps.append("-".join(map(str, [rest, *places])))
    return _problem(f"{a}-{b}", steps, a - b)


def _short_multiplication(rng: random.Random) -> Problem:
    a, b = _operand(rng), rng.randint(2, 9)
    products = [place * b for place in _places(a)]
    return _problem(f"{a}*{b}", [_sum(products), _sum([sum(products[:-1]), products[-1]])], a * b)


def _long_multiplication(rng: random.Random) -> Problem:
    a, b = _operand(rng), rng.randint(10, 99)
    pairs = [[(x, y) for y in _places(b)] for x in _places(a)]
    expanded = "+".join(f"{x}*{y}" for row in pairs for x, y in row)
    products = [[x * y for x, y in row] for row in pairs]
    steps = [expanded, _sum([product for row in products for product in row]), _sum(list(map(sum, products)))]
    return _problem(f"{a}*{b}", steps, a * b)


_KINDS = (_addition, _subtraction, _short_multiplication, _long_multiplication)


def _operand(rng: random.Random) -> int:
    """A number of one to three digits."""
    smallest = rng.choice((1, 10, 10, 100, 100))
    return rng.randint(smallest, 10 * smallest - 1)


def _places(number: int) -> list[int]:
    """405 -> [400, 5]."""
    return [digit * place for place in (100, 10, 1) if (digit := number // place % 10)]


def _sum(terms: list[int]) -> str:
    return "+".join(str(term) for term in terms if term)


def _problem(question: str, steps: list[str], answer: int) -> Problem:
    told = dict.fromkeys(step for step in [*steps, str(answer)] if step != question)  # no step twice
    return Problem(f"{question}=", answer, "=".join(told) + "\n")
