"""A process that answers as vLLM or SGLang would: the same routes, fields and refusals, with a toy model.

    python -m tests.local_server.inference_stand_in vllm|sglang PORT [FLAG …]

SGLang's schema is that of its source, 0.5.23: `GenerateReqInput`, `SamplingParams` and what
`TokenizerManager` makes of a result. What vLLM really does `tests/engines/` sees; here are its errors, and
what needs a GPU.
"""

from __future__ import annotations

import asyncio
import base64
import io
import sys
from typing import Any

import numpy as np
from aiohttp import web

__all__ = ["CONTEXT", "END", "MODEL", "NEVER", "VOCABULARY", "logprobs_after"]

VOCABULARY = 300
END = 299
"""A sample ends with it. Any other token is a character of that number."""
CONTEXT = 128
MODEL = "org/toy"

NEVER = 5
"""A token that has no probability anywhere."""

_TABLE = np.random.default_rng(7).normal(0, 2, (VOCABULARY, VOCABULARY))
_TABLE[:, NEVER] = -np.inf


def logprobs_after(token: int, adapter: str | None = None, temperature: float = 1.0) -> np.ndarray:
    """Of each token [V], after `token`. An adapter turns the table upside down."""
    logits = (_TABLE if adapter is None else _TABLE[::-1])[token] / temperature
    return logits - np.log(np.exp(logits).sum())


class StandIn:
    def __init__(self, flags: set[str]) -> None:
        self.flags = flags
        named = [flag.removeprefix("model=") for flag in flags if flag.startswith("model=")]
        self.model = named[0] if named else MODEL
        if "ascii" in flags:  # What any tokenizer of bytes reads is likelier than what none does.
            _TABLE[:, 128:] -= 6
        self.adapters: dict[str, str] = {}
        self.trouble: list[tuple[int, dict[str, str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self.hung_up = 0
        self.used: str | None = None
        """The adapter that was used last."""

    async def begin(self, request: web.Request) -> dict[str, Any]:
        """The body, unless there is trouble set up."""
        body: dict[str, Any] = await request.json()
        self.bodies.append(body)
        if self.trouble:
            raise _TroubleError(*self.trouble.pop(0))
        return body

    def sample(self, prompt: list[int], params: dict[str, Any], index: int, adapter: str | None) -> Any:
        seed = params.get("seed", params.get("sampling_seed"))
        random = np.random.default_rng(None if seed is None else seed + index)
        temperature = params["temperature"]
        tokens, rows, last = [], [], prompt[-1]
        limit = params.get("max_tokens", params.get("max_new_tokens"))
        while len(tokens) < limit:
            row = logprobs_after(last, adapter)
            if temperature == 0:
                last = int(row.argmax())
            else:
                hot = logprobs_after(last, adapter, temperature)
                if params.get("top_k", -1) > 0:
                    hot = np.where(hot >= np.sort(hot)[-params["top_k"]], hot, -np.inf)
                weights = np.exp(hot)
                if params.get("top_p", 1) < 1:
                    order = weights.argsort()[::-1]
                    share = weights[order].cumsum() / weights.sum()
                    weights[order[1:][share[:-1] >= params["top_p"]]] = 0
                last = int(random.choice(VOCABULARY, p=weights / weights.sum()))
                if "tempered" in self.flags:
                    row = logprobs_after(tokens[-1] if tokens else prompt[-1], adapter, temperature)
            tokens.append(last)
            rows.append(row)
            said = "".join(map(chr, tokens))
            if last == END or last in params.get("stop_token_ids", []):
                return tokens, rows, "stop"
            if any(stop in said for stop in params.get("stop", [])):
                return tokens, rows, "stop"
        return tokens, rows, "length"

    def prompt_rows(self, prompt: list[int], adapter: str | None) -> list[np.ndarray]:
        shift = 1.0 if "wrong" in self.flags else 0.0
        return [logprobs_after(token, adapter) - shift for token in prompt[:-1]]


STAND_IN: web.AppKey[StandIn] = web.AppKey("stand_in", StandIn)


class _TroubleError(Exception):
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    for flag in request.app[STAND_IN].flags:
        key = flag.removeprefix("key=")
        if (
            key != flag
            and request.path != "/health"
            and request.headers.get("authorization") != f"Bearer {key}"
        ):
            return web.json_response({"error": "Unauthorized"}, status=401)
    try:
        response: web.StreamResponse = await handler(request)
    except _TroubleError as trouble:
        body = {"error": {"message": f"trouble {trouble.status}"}}
        return web.json_response(body, status=trouble.status, headers=trouble.headers)
    except ValueError as error:
        return web.json_response({"error": {"message": str(error)}}, status=400)
    return response


def _top(row: np.ndarray, k: int) -> list[int]:
    return [int(token) for token in row.argsort()[::-1][:k]]


def _cell(row: np.ndarray, token: int) -> list[Any]:
    """As SGLang has it: orjson writes null for what JSON has no number for."""
    return [None if np.isinf(row[token]) else row[token], token, None]


class Vllm(StandIn):
    def routes(self) -> list[web.RouteDef]:
        generate = [] if "completions" in self.flags else [web.post("/inference/v1/generate", self.generate)]
        return [
            *generate,
            web.get("/health", _ok),
            web.get("/version", self.version),
            web.get("/v1/models", self.models),
            web.get("/metrics", self.metrics),
            web.post("/v1/completions", self.complete),
            web.post("/v1/load_lora_adapter", self.load),
            web.post("/v1/unload_lora_adapter", self.unload),
        ]

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def models(self, request: web.Request) -> web.Response:
        base = {"id": MODEL, "root": MODEL, "parent": None, "max_model_len": CONTEXT}
        loaded = [{"id": name, "root": path, "parent": MODEL} for name, path in self.adapters.items()]
        return web.json_response({"data": [base, *loaded]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"lora_name", "lora_path", "load_inplace"}
        if "none" in body["lora_path"]:
            raise ValueError("No adapter found")
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        del self.adapters[(await request.json())["lora_name"]]
        return web.Response(text="Success")

    async def metrics(self, request: web.Request) -> web.Response:
        """As of one on a CPU with adapters, or of one on a GPU without."""
        cpu = "cpu" in self.flags
        size, memory = (128, 1 << 30) if cpu else (16, None)
        cache = f'vllm:cache_config_info{{block_size="{size}",kv_cache_memory_bytes="{memory}"}} 1.0\n'
        return web.Response(text=cache + "# HELP vllm:lora_requests_info …\n" * cpu)

    def check(self, body: dict[str, Any], params: dict[str, Any]) -> str | None:
        """The adapter. Raises what vLLM refuses."""
        if (model := body.get("model")) not in (MODEL, *self.adapters):
            raise _TroubleError(404, {})
        if bad := [token for token in params.get("stop_token_ids", []) if token >= VOCABULARY]:
            raise ValueError(
                f"token_id(s) {bad} contain out-of-vocab token ids. Vocabulary size: {VOCABULARY}"
            )
        if params["n"] > 1 and params["temperature"] == 0:
            raise ValueError("n must be 1 when using greedy sampling")
        if (params["logprobs"] or 0) > 20:
            raise ValueError(f"Requested sample logprobs of {params['logprobs']}")
        if "spoils" in self.flags and self.used is not None:
            return self.used
        self.used = None if model == MODEL else model
        return self.used

    def prompt_logprobs(self, prompt: list[int], params: dict[str, Any], adapter: str | None) -> Any:
        k = params.get("prompt_logprobs")
        if k is None:
            return None
        rows = zip(prompt[1:], self.prompt_rows(prompt, adapter), strict=True)
        return [
            None,
            *({str(t): {"logprob": max(row[t], -9999.0)} for t in [x, *_top(row, k)]} for x, row in rows),
        ]

    async def generate(self, request: web.Request) -> web.Response:
        body = await self.begin(request)
        assert set(body) == {"model", "token_ids", "sampling_params"}
        params, prompt = {"n": 1, "logprobs": None, **body["sampling_params"]}, body["token_ids"]
        adapter = self.check(body, params)
        if "dies" in self.flags and "prompt_logprobs" in params and len(prompt) == 2:
            assert request.transport is not None
            request.transport.abort()
        targets = params.get("prompt_logprob_token_ids")
        if targets is not None and "v2" not in self.flags:
            raise ValueError("prompt_logprob_token_ids requires the V2 model runner")
        await _work(self)
        choices = []
        for index in range(params["n"]):
            tokens, rows, reason = self.sample(prompt, params, index, adapter)
            k = max(params["logprobs"], 1)
            content = [
                {
                    "token_id": token,
                    "logprob": row[token],
                    "top_logprobs": [
                        {"token_id": other, "logprob": row[other]}
                        for other in dict.fromkeys([token, *_top(row, params["logprobs"])])
                    ][:k],
                }
                for token, row in zip(tokens, rows, strict=True)
            ]
            choices.append(
                {
                    "index": index,
                    "token_ids": tokens,
                    "logprobs": {"content": content},
                    "finish_reason": reason,
                }
            )
        answer = {"choices": choices, "prompt_logprobs": self.prompt_logprobs(prompt, params, adapter)}
        if targets is not None:
            scores = [
                [row[token] if token >= 0 else -np.inf for token in ids]
                for ids, row in zip(targets, self.prompt_rows(prompt, adapter), strict=True)
            ]
            buffer = io.BytesIO()
            np.save(buffer, np.array(scores, "f"))
            answer["prompt_token_id_logprobs"] = base64.b64encode(buffer.getvalue()).decode()
        return web.json_response(answer)

    async def complete(self, request: web.Request) -> web.Response:
        params = {"n": 1, "logprobs": None, "temperature": 1.0, **await self.begin(request)}
        prompt, adapter = params["prompt"], self.check({"model": MODEL, **params}, params)
        await _work(self)
        choices = []
        for index in range(params["n"]):
            tokens, rows, reason = self.sample(prompt, params, index, adapter)
            pairs = list(zip(tokens, rows, strict=True))
            choice: dict[str, Any] = {
                "index": index,
                "text": "…",
                "finish_reason": reason,
                "logprobs": {
                    "token_logprobs": [row[token] for token, row in pairs],
                    "top_logprobs": [
                        {f"token_id:{t}": row[t] for t in [token, *_top(row, params["logprobs"])]}
                        for token, row in pairs
                    ],
                },
                "prompt_logprobs": self.prompt_logprobs(prompt, params, adapter),
            }
            if "text-only" not in self.flags:
                choice |= {"token_ids": tokens, "prompt_token_ids": prompt}
            choices.append(choice)
        return web.json_response({"choices": choices})


class Sglang(StandIn):
    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health", _ok),
            web.get("/server_info", self.server_info),
            web.get("/model_info", self.model_info),
            web.get("/v1/models", self.models),
            web.post("/generate", self.generate),
            web.post("/load_lora_adapter", self.load),
        ]

    async def server_info(self, request: web.Request) -> web.Response:
        deterministic = "deterministic" in self.flags
        return web.json_response({"version": "0.5.23", "enable_deterministic_inference": deterministic})

    async def model_info(self, request: web.Request) -> web.Response:
        return web.json_response({"model_path": "/models/toy", "served_model_name": self.model})

    async def models(self, request: web.Request) -> web.Response:
        base = {"id": self.model, "root": self.model, "max_model_len": CONTEXT}
        return web.json_response({"object": "list", "data": [base]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"lora_name", "lora_path"}
        self.adapters[body["lora_name"]] = body["lora_path"]
        return web.json_response({"success": True, "error_message": None})

    async def generate(self, request: web.Request) -> web.Response:
        body = await self.begin(request)
        params, prompt, adapter = body["sampling_params"], body["input_ids"], body.get("lora_path")
        params = {"n": 1, "temperature": 1.0, "max_new_tokens": 128, **params}
        targets = body.get("token_ids_logprob")
        if bad := [token for token in targets or [] if token >= VOCABULARY]:
            raise ValueError(f"out-of-vocabulary token id {bad[0]}; valid range is [0, {VOCABULARY}).")
        if adapter not in (None, *self.adapters):
            raise ValueError(f"The following requested LoRA adapters are not loaded: {adapter}")
        assert "sampling_seed" not in params or params["n"] == 1, "equal samples"
        await _work(self)
        k = body.get("top_logprobs_num", 0)
        answers = []
        for index in range(params["n"]):
            tokens, rows, reason = self.sample(prompt, params, index, adapter)
            info: dict[str, Any] = {
                "id": f"{index}",
                "finish_reason": {"type": reason},
                "prompt_tokens": len(prompt),
                "cached_tokens": 2,
                "output_token_logprobs": [_cell(r, t) for t, r in zip(tokens, rows, strict=True)],
                "output_top_logprobs": [[_cell(r, t) for t in _top(r, k)] for r in rows],
            }
            if body.get("logprob_start_len") == 0:
                told = self.prompt_rows(prompt, adapter)
                pairs = list(zip(prompt[1:], told, strict=True))
                info |= {
                    "input_token_logprobs": [[None, prompt[0], None], *(_cell(r, t) for t, r in pairs)],
                    "input_top_logprobs": [None, *([_cell(r, t) for t in _top(r, k)] for r in told)],
                    "input_token_ids_logprobs": [
                        None,
                        *([_cell(r, t) for t in targets or []] for r in told),
                    ],
                }
            answers.append({"text": "…", "output_ids": tokens, "meta_info": info})
        return web.json_response(answers if params["n"] > 1 else answers[0])


async def _ok(request: web.Request) -> web.Response:
    return web.Response()


async def _work(stand_in: StandIn) -> None:
    """A sample that takes long, if one is asked for: until the one who asks hangs up."""
    if "slow" not in stand_in.flags:
        return
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        stand_in.hung_up += 1
        raise


def main(kind: str, port: str, *flags: str) -> None:
    stand_in = (Vllm if kind == "vllm" else Sglang)(set(flags))

    async def set_up(request: web.Request) -> web.Response:
        body = await request.json()
        stand_in.trouble += [(body.get("status", 0), body.get("headers", {}))] * body.get("times", 0)
        stand_in.flags ^= set(body.get("flags", []))
        return web.Response()

    async def seen(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "bodies": stand_in.bodies,
                "hung_up": stand_in.hung_up,
                "trouble": len(stand_in.trouble),
                "flags": [*stand_in.flags],
            }
        )

    app = web.Application(middlewares=[_errors])
    app[STAND_IN] = stand_in
    app.add_routes([*stand_in.routes(), web.post("/test/trouble", set_up), web.get("/test/seen", seen)])
    web.run_app(
        app, host="127.0.0.1", port=int(port), handler_cancellation=True, handle_signals=True, print=None
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
