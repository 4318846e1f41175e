"""`--engine vllm` and LoRA adapters, with a real vLLM on the CPU, which has faults of its own with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tinker_client import RequestFailedError, SamplingClient, ServiceClient, types
from tinker_client.local_server import start_local_server
from tools import vllm_cpu
from tools.vllm_cpu import Vllm

pytestmark = [
    pytest.mark.skipif(vllm_cpu.why_missing() is not None, reason=str(vllm_cpu.why_missing())),
    pytest.mark.timeout(900),
]

PROMPT = [1, 4093, 198, 1780, 314, 216, 33, 34, 26, 39, 47, 2]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run/0` is of the attention's queries, `run/head` of what makes logits."""
    folder = tmp_path_factory.mktemp("adapters")
    vllm_cpu.write_adapter(folder / "run/0", vllm_cpu.QUERIES, 0.05)
    vllm_cpu.write_adapter(folder / "run/head", ["lm_head"], 0.3)
    return folder


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    options = ("--enable-scale-out", "--enable-lora", "--max-lora-rank", "8")
    with Vllm(tmp_path_factory.mktemp("vllm") / "log", *options) as vllm:
        yield vllm


@pytest.fixture(scope="module")
def base_url(vllm: Vllm, adapters: Path) -> Iterator[str]:
    with closing(
        start_local_server("vllm", "--upstream", vllm.url, "--adapters", str(adapters), start_timeout=180)
    ) as server:
        yield server.base_url


@pytest.fixture
def client_of(vllm: Vllm, base_url: str) -> Iterator[Callable[..., SamplingClient]]:
    with ServiceClient(base_url=base_url, api_key="tml-tests") as service_client:
        yield lambda path=None: service_client.create_sampling_client(base_model=vllm.model, model_path=path)


def greedy(client: SamplingClient, **options: Any) -> types.SampledSequence:
    params = types.SamplingParams(max_tokens=12, temperature=0.0)
    return client.sample(types.ModelInput.from_ints(PROMPT), 1, params, **options).result(120).sequences[0]


def test_samples_are_those_of_transformers(
    client_of: Callable[..., SamplingClient], reference: Callable[..., Any], adapters: Path
) -> None:
    for path, folder in ((None, None), ("tinker://run/0", adapters / "run/0"), (None, None)):
        it = greedy(client_of(path))
        told = reference([[*PROMPT, *it.tokens]], greedy=PROMPT, adapter=folder)
        assert it.tokens == told["greedy"][: len(it.tokens)]
        assert it.logprobs == pytest.approx(told["scores"][0][len(PROMPT) - 1 :], abs=1e-4)


def test_prompts_are_not_scored(client_of: Callable[..., SamplingClient]) -> None:
    """That is the end of vLLM 0.32, with adapters and on a CPU, if it does something else besides."""
    with pytest.raises(RequestFailedError, match="on a CPU with --enable-lora; started without it"):
        greedy(client_of(), include_prompt_logprobs=True)


def test_one_that_is_not_there(client_of: Callable[..., SamplingClient]) -> None:
    with pytest.raises(RequestFailedError, match="cannot load tinker://run/none: answers 404"):
        greedy(client_of("tinker://run/none"))


def test_one_by_which_the_model_itself_goes_wrong(client_of: Callable[..., SamplingClient]) -> None:
    """vLLM 0.32 on a CPU uses it for whoever comes next. Last here, as that server is of no use any more."""
    with pytest.raises(
        RequestFailedError, match="answers differently without an adapter since it has loaded"
    ):
        greedy(client_of("tinker://run/head"))
    with pytest.raises(RequestFailedError, match="and has to be started anew"):
        greedy(client_of())
