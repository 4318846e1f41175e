"""What `tinker-sidecar serve` prints once it listens: where, what is served, and how a program gets there."""

from __future__ import annotations

__all__ = ["greeting"]

ANY_KEY = "tml-local"
"""Clients want to have a key; a server without one of its own lets in any."""


def greeting(label: str, models: tuple[str, ...], keyed: bool, url: str) -> str:
    """The lines. `models` are those that are known, and `keyed` says that only certain keys are let in.

    The first line is what programs wait for that start a server.
    """
    key = "…" if keyed else ANY_KEY
    client = f'ServiceClient(base_url="{url}", api_key="{key}")'
    return "\n".join(
        [
            f"tinker-sidecar serve: listening on {url} (engine: {label})",
            *(f"  model    {model}" for model in models),
            f"  program  TINKER_BASE_URL={url} TINKER_API_KEY={key} python train.py",
            f'  client   {client}.create_sampling_client(base_model="{models[0] if models else "…"}")',
        ]
    )
