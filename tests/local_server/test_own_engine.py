"""`--engine package.module:Class`: the example of docs/engines.md, and engines that are none."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tinker_client import RequestFailedError, SamplingClient, ServiceClient, SidecarStartupError, types
from tinker_client.local_server import start_local_server

PAGE = (Path(__file__).parents[2] / "docs/engines.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TEXT = b"the cat the hat the bat\n" * 100


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is run in, with the page's example and what that reads."""
    (tmp_path / "bigrams.py").write_text(EXAMPLE)
    (tmp_path / "text").write_bytes(TEXT)
    monkeypatch.setenv("BIGRAMS_TEXT", "text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(host: str, folder: Path) -> Iterator[SamplingClient]:
    with (
        closing(start_local_server("bigrams:Bigrams")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        yield service_client.create_sampling_client(base_model="examples/bigrams")


def say(client: SamplingClient, num_samples: int = 1, **params: Any) -> list[types.SampledSequence]:
    prompt = types.ModelInput.from_ints([*b"the ca"])
    sampling = types.SamplingParams(**{"max_tokens": 30, "temperature": 0.3, "seed": 1, **params})
    return client.sample(prompt, num_samples, sampling).result(30).sequences


def test_the_example_samples(client: SamplingClient) -> None:
    several = say(client, num_samples=4, temperature=1.0, max_tokens=1000, stop="\n")
    again = say(client, num_samples=4, temperature=1.0, max_tokens=1000, stop="\n")
    assert [it.tokens for it in again] == [it.tokens for it in several]
    assert len({tuple(it.tokens) for it in several}) > 1
    for it in several:
        assert it.stop_reason == "stop"
        assert bytes(it.tokens).index(b"\n") == len(it.tokens) - 1
    [likeliest] = say(client, temperature=0.0, max_tokens=12)
    assert (likeliest.stop_reason, bytes(likeliest.tokens)) == ("length", b"the the the ")


def test_it_scores_prompts_by_the_same_measure(client: SamplingClient) -> None:
    [sample] = say(client)
    prompt = types.ModelInput.from_ints([*b"the ca", *sample.tokens])
    scores = client.compute_logprobs(prompt).result(30)
    assert scores[0] is None
    assert scores[6:] == sample.logprobs
    assert all(score is not None and -math.inf < score < 0 for score in scores[1:])


def test_what_it_refuses_the_caller_is_told(client: SamplingClient) -> None:
    prompt = types.ModelInput.from_ints([1, 2])
    future = client.sample(prompt, 1, types.SamplingParams(max_tokens=1), topk_prompt_logprobs=2)
    with pytest.raises(RequestFailedError, match="know the logprobs of tokens that are there") as caught:
        future.result(30)
    assert caught.value.category == "user"


MISFITS = """
from tinker_sidecar.local_server.engines import Completion, GenerationResult


class Misfit:
    base_model, vocab_size, max_context_length = "examples/misfit", 10, 100

    async def generate(self, request):
        "The first token of the prompt says what is wrong."
        return [
            None,
            GenerationResult([Completion([1], [-1.0], "length")] * 2),
            GenerationResult([Completion([1, 2], [-1.0], "length")]),
            GenerationResult([Completion([1] * 9, [-1.0] * 9, "length")]),
            GenerationResult([Completion([10], [-1.0], "length")]),
        ][request.prompt[0]]

    async def close(self):
        pass
"""
WRONG = (
    "TypeError: generate must return a GenerationResult, not None",
    "ValueError: 2 completions, where 1 are wanted",
    "ValueError: a completion of 2 tokens has 1 logprobs, where one of up to 8 tokens is wanted",
    "ValueError: a completion of 9 tokens has 9 logprobs, where one of up to 8 tokens is wanted",
    "ValueError: a completion has tokens that are not within 0 to 9",
)


def test_results_that_no_engine_may_have_are_its_mistake(host: str, folder: Path) -> None:
    (folder / "misfits.py").write_text(MISFITS)
    with (
        closing(start_local_server("misfits:Misfit")) as server,
        ServiceClient(base_url=server.base_url, api_key="tml-tests") as service_client,
    ):
        client = service_client.create_sampling_client(base_model="examples/misfit")
        for first, wrong in enumerate(WRONG):
            future = client.sample(types.ModelInput.from_ints([first]), 1, types.SamplingParams(max_tokens=8))
            with pytest.raises(RequestFailedError, match=re.escape(f"generation failed: {wrong}")) as caught:
                future.result(30)
            assert caught.value.category == "server"


NO_ENGINES = {
    "nothing:Class": "cannot make the engine nothing:Class: ModuleNotFoundError: No module named 'nothing'",
    "bigrams:Four": "cannot make the engine bigrams:Four: AttributeError: module 'bigrams' has no attribute",
    "bigrams:": "'bigrams:' is not of the form package.module:Class",
    "pathlib:Path": "the engine pathlib:Path must have a base_model (str, one line), not None",
    "halves:NoClose": "the engine halves:NoClose must have a method `async def close`",
    "./halves.py:NoClose": "'./halves.py:NoClose' is not of the form package.module:Class",
    "halves:Raises": "cannot make the engine halves:Raises: ValueError: no weights here, nor there",
    "halves:Exits": "cannot make the engine halves:Exits: SystemExit: 0",
    "halves:TwoLines": r"the engine halves:TwoLines must have a base_model (str, one line), not 'a\nb'",
    "halves:NoTokens": "the engine halves:NoTokens must have a vocab_size (int, 1 or more), not -5",
}
HALVES = """
class NoClose:
    base_model, vocab_size, max_context_length = "half", 10, 10

    async def generate(self, request):
        ...


class TwoLines(NoClose):
    base_model = "a\\nb"


class NoTokens(NoClose):
    vocab_size = -5


def Raises():
    raise ValueError("no weights here,\\nnor there")


def Exits():
    raise SystemExit(0)
"""


@pytest.mark.parametrize("name", NO_ENGINES)
def test_what_is_no_engine_is_told_in_one_line(folder: Path, name: str) -> None:
    (folder / "halves.py").write_text(HALVES)
    with pytest.raises(SidecarStartupError) as caught:
        start_local_server(name)
    said = str(caught.value).partition("tinker-sidecar serve: ")[2]
    assert said.startswith(NO_ENGINES[name])
    assert "\n" not in said
