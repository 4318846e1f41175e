"""A reward for worked arithmetic, of the kind people write: a regex, then sympy, all of it CPU.

`57*8=` answered with `400+56=456` earns 1: half for the answer, half for the steps.
"""

from __future__ import annotations

import re
import time
from functools import cache
from itertools import pairwise

from sympy import simplify
from sympy.parsing.sympy_parser import parse_expr

__all__ = ["grade", "runaway_completion", "runaway_length"]

# A quantifier within a quantifier: each digit of a number that no `=` follows doubles the time to
# give up on it, and `re` keeps the GIL throughout. Such patterns pass every test until the day a
# model rambles.
STEP = re.compile(r"((?:\d+[-+*]?)+)=")
NUMBER = re.compile(r"\d+")


def grade(question: str, answer: int, completion: str) -> float:
    """The reward, 0 to 1, of a `completion` that works out `question` (`57*8`), whose value is `answer`."""
    final = completion.rpartition("=")[2].strip()
    forms = [question, *STEP.findall(completion), final]
    if not NUMBER.fullmatch(final):
        return 0.0
    steps_held = [_equal(left, right) for left, right in pairwise(forms)]
    return (int(final) == answer) / 2 + sum(steps_held) / len(steps_held) / 2


def runaway_completion(length: int) -> str:
    """A completion that rambles: `length` numbers, and no `=`. The time to grade it grows with `length`."""
    return ("7" * 20 + " ") * length


def runaway_length(seconds: float) -> int:
    """How long a runaway completion must be for this machine to grade it in about `seconds`."""
    trial = 8
    started = time.thread_time()  # Other programs on the machine do not count.
    STEP.findall(runaway_completion(trial))
    return max(1, round(seconds / (time.thread_time() - started) * trial))


@cache  # The samples of a group tend to take the same steps.
def _equal(left: str, right: str) -> bool:
    try:
        return bool(simplify(parse_expr(left) - parse_expr(right)) == 0)
    except SyntaxError:  # the model may write anything: `40+`, `007`
        return False
