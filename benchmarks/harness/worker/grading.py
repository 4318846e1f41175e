"""An RL rollout loop as people write it: asyncio, and a grader that runs right there on the event loop."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from harness.worker.hogs import Hogs
from harness.worker.meter import Meter
from harness.worker.program import Program

__all__ = ["grading_loop"]


_TRIAL = 100


def grading_loop(program: Program, *, problems: int, group_size: int, max_tokens: int) -> dict[str, Any]:
    """Sample `group_size` completions for each problem, grade each as it comes."""
    program.warm_up()
    grader = _Grader()
    alone = grader.seconds_each() * problems * group_size
    params = program.params(max_tokens)
    make = program.peer.types.ModelInput.from_ints
    prompts = [make(list(range(number, number + 512))) for number in range(problems)]

    async def rollout(prompt: Any, number: int) -> float:
        response = await program.sampling_client.sample_async(prompt, 1, params)
        return grader.grade(response.sequences[0].tokens, number)

    async def group(prompt: Any) -> list[float]:
        rewards = await asyncio.gather(*(rollout(prompt, number) for number in range(group_size)))
        mean = sum(rewards) / group_size
        return [reward - mean for reward in rewards]

    async def step() -> int:
        return sum(map(len, await asyncio.gather(*map(group, prompts))))

    meter = Meter(Hogs(0))
    with meter:
        graded = asyncio.run(step())
    assert graded == problems * group_size
    return {**meter.figures(graded), "grading_alone_s": alone, "added_s": meter.seconds - alone}


class _Grader:
    """Is the student's expression the same as the answer? It asks sympy."""

    def __init__(self) -> None:
        from sympy import expand, parse_expr

        self._parse, self._expand = parse_expr, expand

    def grade(self, tokens: list[int], number: int) -> float:
        """`number` keeps apart the completions of a group, which a simulation makes all alike."""
        a, b, c = (token % 997 + 2 for token in tokens[:3])
        student = self._parse(f"({a}*x + {b})*(x - {c + number})")
        answer = self._parse(f"{a}*x**2 + {b - a * (c + number)}*x - {b * (c + number)}")
        return float(self._expand(student - answer) == 0)

    def seconds_each(self) -> float:
        """What one grading takes when nothing else goes on."""
        self.grade([1, 2, 3], 0)  # The first takes longer.
        started = perf_counter()
        for number in range(_TRIAL):
            self.grade([17 * number, 31 * number, 53 * number], number)
        return (perf_counter() - started) / _TRIAL
