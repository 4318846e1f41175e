"""Write the table of engines and features in docs/engines.md: each cell is what a check finds.

    python -m tools.engine_features               # asks every engine that can be served here
    python -m tools.engine_features tiny replay   # asks these

Columns of engines that are not asked stay as they are. `tests/local_server/test_engine_features.py` runs the
same checks and fails if the page says anything else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinker_client import SamplingClient, ServiceClient, TinkerError, types
from tools.served_engines import ADAPTER, ENGINES, EngineToTest, Served

__all__ = ["DOCUMENT", "FEATURES", "IGNORED", "columns_in", "features_of", "main"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "engines.md"

PROMPT = (*b"57*38=",)
"""Token ids that every model has."""
HONOURED, REFUSED, IGNORED = "yes", "refused", "–"
_PARAMS = {"max_tokens": 8, "seed": 5, "temperature": 1.0, "top_k": -1, "top_p": 1.0, "stop": None}
_HEAD = "| feature | "


@dataclass(frozen=True)
class Model:
    """What a check has: a client of the engine's model, and a short way to ask."""

    service_client: ServiceClient
    client: SamplingClient
    served: Served

    @property
    def hot(self) -> float:
        """A temperature at which anything may be sampled."""
        return min(5.0, self.served.hottest)

    def sample(self, prompt: Iterable[int] = PROMPT, num_samples: int = 1, **options: Any) -> Any:
        """`options` are arguments of `sample` and `SamplingParams` alike."""
        params = {name: options.pop(name, default) for name, default in _PARAMS.items()}
        asked = types.ModelInput.from_ints([*prompt])
        return self.client.sample(asked, num_samples, types.SamplingParams(**params), **options).result(60)

    def tokens(self, **options: Any) -> list[list[int]]:
        return [sequence.tokens for sequence in self.sample(**options).sequences]

    def greedy(self, max_tokens: int = 8) -> list[int]:
        [tokens] = self.tokens(temperature=0.0, max_tokens=max_tokens)
        return tokens

    def logprobs(self, *tokens: int) -> list[float | None]:
        return list(self.client.compute_logprobs(types.ModelInput.from_ints([*tokens])).result(60))


FEATURES: dict[str, Callable[[Model], None]] = {}
"""By what the table calls it. Raises `AssertionError` if the engine does something else than was asked."""


def feature(name: str) -> Callable[[Callable[[Model], None]], Callable[[Model], None]]:
    def named(check: Callable[[Model], None]) -> Callable[[Model], None]:
        FEATURES[name] = check
        return check

    return named


@feature("`num_samples`, `max_tokens`")
def samples(model: Model) -> None:
    response = model.sample(num_samples=6, max_tokens=3, temperature=model.hot)
    assert len(response.sequences) == 6
    for it in response.sequences:
        assert len(it.tokens) == len(it.logprobs) <= 3
        assert it.stop_reason == ("length" if len(it.tokens) == 3 else "stop")
    assert len({tuple(it.tokens) for it in response.sequences}) > 1


@feature("`temperature`")
def temperature(model: Model) -> None:
    likeliest, again = (model.sample(temperature=0.0, seed=seed).sequences[0] for seed in (1, 2))
    assert likeliest.tokens == again.tokens
    cold, hot = (
        model.sample(num_samples=32, max_tokens=1, temperature=it).sequences
        for it in (0.01, model.served.hottest)
    )
    assert {it.tokens[0] for it in cold} == {likeliest.tokens[0]}
    assert len({it.tokens[0] for it in hot}) > 16
    assert max(it.logprobs[0] for it in hot) <= likeliest.logprobs[0] + 1e-4


@feature("`top_k`")
def top_k(model: Model) -> None:
    assert model.tokens(top_k=1, temperature=model.hot, seed=6) == [model.greedy()]


@feature("`top_p`")
def top_p(model: Model) -> None:
    assert model.tokens(top_p=1e-6, temperature=model.hot, seed=6) == [model.greedy()]


@feature("`seed`")
def seed(model: Model) -> None:
    asked: dict[str, Any] = {"num_samples": 3, "temperature": model.hot, "max_tokens": 16}
    first, again, other = (model.tokens(**asked, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@feature("`stop`: token ids")
def stop_tokens(model: Model) -> None:
    whole = model.greedy()
    stop = whole[3]
    [stopped] = model.sample(temperature=0.0, stop=[stop]).sequences
    assert (stopped.tokens, stopped.stop_reason) == (whole[: whole.index(stop) + 1], "stop")


@feature("`stop`: strings")
def stop_strings(model: Model) -> None:
    tokenizer = model.client.get_tokenizer()
    text = tokenizer.decode(model.greedy())
    stop = text[2:4]
    assert stop, "text that can be stopped at"
    [stopped] = model.sample(temperature=0.0, stop=[stop]).sequences
    assert stopped.stop_reason == "stop"
    assert stop in tokenizer.decode(stopped.tokens)
    assert stop not in tokenizer.decode(stopped.tokens[:-1])


@feature("logprobs of samples, those of temperature 1")
def sample_logprobs(model: Model) -> None:
    for it in model.sample(num_samples=2, temperature=1.5).sequences:
        assert _close(model.logprobs(*PROMPT, *it.tokens)[len(PROMPT) :], it.logprobs)


@feature("`topk_sample_logprobs`")
def topk_sample_logprobs(model: Model) -> None:
    [it] = model.sample(temperature=0.0, topk_sample_logprobs=3).sequences
    assert len(it.topk_logprobs) == len(it.tokens)
    for token, logprob, row in zip(it.tokens, it.logprobs, it.topk_logprobs, strict=True):
        assert len(row) == 3
        assert row[0][0] == token
        assert _close([row[0][1]], [logprob])
        assert [*row] == sorted(row, key=lambda cell: -cell[1])


@feature("prompt logprobs, `prompt_logprobs_last_n`")
def prompt_logprobs(model: Model) -> None:
    whole = model.sample(include_prompt_logprobs=True).prompt_logprobs
    assert len(whole) == len(PROMPT)
    assert whole[0] is None
    assert all(-math.inf < logprob < 0 for logprob in whole[1:])
    part = model.sample(include_prompt_logprobs=True, prompt_logprobs_last_n=2).prompt_logprobs
    assert [*part[:-2]] == [None] * (len(PROMPT) - 2)
    assert _close(part[-2:], whole[-2:])


@feature("`topk_prompt_logprobs`")
def topk_prompt_logprobs(model: Model) -> None:
    response = model.sample(include_prompt_logprobs=True, topk_prompt_logprobs=4)
    first, *rows = response.topk_prompt_logprobs
    assert first is None
    for token, logprob, row in zip(PROMPT[1:], response.prompt_logprobs[1:], rows, strict=True):
        assert len(row) == 4
        assert [*row] == sorted(row, key=lambda cell: -cell[1])
        assert _close([dict(row).get(token, logprob)], [logprob])


@feature("`target_prompt_logprobs`")
def target_prompt_logprobs(model: Model) -> None:
    rows = [[token, -1] for token in PROMPT[1:]]
    cells = [token for row in rows for token in row]
    target = types.TensorData(data=cells, dtype="int64", shape=[len(rows), 2])
    told = model.sample(target_prompt_logprobs=target).target_prompt_logprobs.tolist()
    assert _close([row[0] for row in told], model.logprobs(*PROMPT)[1:])
    assert [row[1] for row in told] == [0.0] * len(rows)


@feature("`prompt_alt_tokens_k`")
def prompt_alt_tokens(model: Model) -> None:
    drawn = model.sample(prompt_alt_tokens_k=2).prompt_alt_tokens
    tokens, logprobs = drawn.tokens.tolist(), drawn.logprobs.tolist()
    for position, (row, scores) in enumerate(zip(tokens, logprobs, strict=True), 1):
        assert len(row) == len(scores) == 2
        assert _close([model.logprobs(*PROMPT[:position], row[0])[position]], scores[:1])


@feature("adapters, `tinker://…`")
def adapters(model: Model) -> None:
    """Of what is sampled, as not every engine that has adapters scores prompts with them."""
    served = model.served
    url = served.with_adapters or served.base_url
    with ServiceClient(base_url=url, api_key="tml-features") as service_client:
        # After that the model is less sure than at the end of `PROMPT`.
        asked = types.ModelInput.from_ints(PROMPT[:3]), 1, types.SamplingParams(max_tokens=1, temperature=0.0)
        clients = (
            service_client.create_sampling_client(base_model=served.model, model_path=path)
            for path in (None, served.adapter or ADAPTER)
        )
        plain, tuned = (client.sample(*asked).result(60).sequences[0].logprobs for client in clients)
    assert not _close(plain, tuned)


@feature("images")
def images(model: Model) -> None:
    image = types.ImageChunk(data=b"\x89PNG", format="png", expected_tokens=3)
    prompt = types.ModelInput.from_ints([*PROMPT]).append(image)
    [it] = model.client.sample(prompt, 1, types.SamplingParams(max_tokens=2)).result(60).sequences
    assert it.tokens


def _close(some: Iterable[float | None], others: Iterable[float | None]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(a is not None and b is not None and abs(a - b) < 1e-3 for a, b in pairs)


def features_of(engine: EngineToTest) -> dict[str, str]:
    """The cells of its column, by feature."""
    with engine.serving(_check_all) as serve:
        return _check_all(serve())


def _check_all(served: Served) -> dict[str, str]:
    with ServiceClient(base_url=served.base_url, api_key="tml-features") as service_client:
        client = service_client.create_sampling_client(base_model=served.model)
        model = Model(service_client, client, served)
        return {name: _cell(check, model) for name, check in FEATURES.items()}


def _cell(check: Callable[[Model], None], model: Model) -> str:
    try:
        check(model)
    except TinkerError:
        return REFUSED
    except AssertionError:
        return IGNORED
    return HONOURED


def columns_in(page: str) -> dict[str, dict[str, str]]:
    """By engine: the cells of the table in `page`, by feature."""
    _, names, rows = _table(page)
    return {name: {row[0]: row[column] for row in rows} for column, name in enumerate(names, 1)}


def _with_columns(page: str, columns: dict[str, dict[str, str]]) -> str:
    """`page` with these columns in place of those of the same names; what is not known is a blank."""
    table, _, _ = _table(page)
    lines = [_HEAD + " | ".join(f"`{name}`" for name in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(cells.get(name, "") for cells in columns.values()) + " |"
        for name in FEATURES
    ]
    return page.replace(table, "\n".join(lines))


def _table(page: str) -> tuple[str, list[str], list[list[str]]]:
    """The table, the engines that it names, and its rows."""
    table = page[page.index(_HEAD) :].partition("\n\n")[0].rstrip("\n")
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return table, [cell.strip("`") for cell in head[1:]], rows


def main(*names: str) -> None:
    page = DOCUMENT.read_text()
    columns = {name: columns_in(page).get(name, {}) for name in ENGINES}
    for name in names or ENGINES:
        if reason := ENGINES[name].missing():
            print(f"{name} is left as it is: {reason}")
        else:
            columns[name] = features_of(ENGINES[name])
    DOCUMENT.write_text(_with_columns(page, columns))


if __name__ == "__main__":
    main(*sys.argv[1:])
