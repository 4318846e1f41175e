"""What the programs here share: the local server's model and problems, and how to talk to it."""

from __future__ import annotations

import os

import tinker
from tinker_cookbook import renderers
from tinker_cookbook.renderers.base import ParseTermination

from tinker_client.tokenizers import load_tokenizer
from tinker_sidecar.local_server.engines import tiny
from tinker_sidecar.local_server.engines.tiny.problems import Problem, generate_problems

__all__ = ["MODEL", "Worked", "problems", "sampling_client"]

MODEL = tiny.BASE_MODEL


def sampling_client() -> tinker.SamplingClient:
    """A client of the official SDK, of the server at `TINKER_BASE_URL`."""
    os.environ.setdefault("TINKER_API_KEY", "tml-local")
    return tinker.ServiceClient().create_sampling_client(base_model=MODEL).result()


def problems(count: int) -> list[Problem]:
    return generate_problems(count, seed=1)


class Worked(renderers.Renderer):
    """The user's message as it is, and a completion of one line: what the model was trained on."""

    def __init__(self) -> None:
        super().__init__(load_tokenizer(MODEL))

    def get_stop_sequences(self) -> list[str]:
        return ["\n"]

    def render_message(
        self, message: renderers.Message, ctx: renderers.RenderContext
    ) -> renderers.RenderedMessage:
        raise NotImplementedError("this model has no conversations")

    def build_generation_prompt(
        self, messages: list[renderers.Message], role: str = "assistant", prefill: str | None = None
    ) -> tinker.ModelInput:
        return tinker.ModelInput.from_ints(self.tokenizer.encode(messages[-1]["content"]))

    def parse_response(self, response: list[int]) -> tuple[renderers.Message, ParseTermination]:
        text = self.tokenizer.decode(response)
        ended = ParseTermination.STOP_SEQUENCE if text.endswith("\n") else ParseTermination.MALFORMED
        return {"role": "assistant", "content": text.rstrip("\n")}, ended
