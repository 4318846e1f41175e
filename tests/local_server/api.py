"""Plain HTTP to a local server: what the tests say and what they are told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wreq import Method
from wreq.blocking import Client

from tinker_sidecar.engine.http_runtime import http_runtime

__all__ = ["Answer", "Api", "text_prompt"]

SIM = "tinker-sidecar/sim"


def text_prompt(*tokens: int) -> dict[str, Any]:
    return {"chunks": [{"type": "encoded_text", "tokens": list(tokens)}]}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def detail(self) -> str:
        detail = self.json["detail"]
        assert isinstance(detail, str)
        return detail


class Api:
    """The API of the server at `base_url`, spoken by hand."""

    def __init__(self, base_url: str, api_key: str | None = "tml-test") -> None:
        self.base_url = base_url
        self.api_key = api_key
        # No idle connections: a test leaves no descriptor behind.
        self._client = Client(runtime=http_runtime(), no_proxy=True, pool_max_idle_per_host=0)

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask(Method.GET, path, headers, None)

    def post(self, path: str, body: object, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask(Method.POST, path, headers, content)

    def create_session(self) -> str:
        body = {"tags": ["test"], "user_metadata": None, "sdk_version": "0", "type": "create_session"}
        answer = self.post("create_session", body)
        assert answer.status == 200, answer
        session_id = answer.json["session_id"]
        assert isinstance(session_id, str)
        return session_id

    def create_sampler(self, session_id: str | None = None, *, seq_id: int = 0, **model: str) -> str:
        body = {"session_id": session_id or self.create_session(), "sampling_session_seq_id": seq_id}
        answer = self.post("create_sampling_session", body | (model or {"base_model": SIM}))
        assert answer.status == 200, answer
        sampler_id = answer.json["sampling_session_id"]
        assert isinstance(sampler_id, str)
        return sampler_id

    def asample(
        self, sampler_id: str, seq_id: int = 0, prompt: object = None, params: object = None, **fields: Any
    ) -> Answer:
        body = {
            "sampling_session_id": sampler_id,
            "seq_id": seq_id,
            "prompt": prompt or text_prompt(1, 2, 3),
            "sampling_params": params or {"max_tokens": 8},
            **fields,
        }
        return self.post("asample", body)

    def submit(self, sampler_id: str, seq_id: int = 0, **fields: Any) -> str:
        """Submit a sample and return its request id."""
        answer = self.asample(sampler_id, seq_id, **fields)
        assert answer.status == 200, answer
        request_id = answer.json["request_id"]
        assert isinstance(request_id, str)
        return request_id

    def retrieve(self, request_id: str, *, allow_metadata_only: bool = False, **headers: str) -> Answer:
        body = {"request_id": request_id, "allow_metadata_only": allow_metadata_only}
        return self.post("retrieve_future", body, **headers)

    def retrieve_futures(self, sampler_id: str, cursor: int = 0, *, clone: int = 0, **fields: Any) -> Answer:
        target = {"type": "sampling_session", "sampling_session_id": sampler_id, "cloned_sampler_id": clone}
        return self.post("retrieve_futures", {"target": target, "prev_cursor": cursor, **fields})

    def _url(self, path: str) -> str:
        return self.base_url + (path if path.startswith("/") else f"/api/v1/{path}")

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        key = {} if self.api_key is None else {"x-api-key": self.api_key}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"content-type": "application/json"} | key | given

    def _ask(self, method: Method, path: str, headers: dict[str, str], content: bytes | None) -> Answer:
        response = self._client.request(method, self._url(path), headers=self._headers(headers), body=content)
        received = {str(name, "latin-1"): str(value, "latin-1") for name, value in response.headers}
        return Answer(response.status.as_int(), received, bytes(response.bytes()))
