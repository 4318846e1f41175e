"""What an engine says whose libraries are not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tinker_client import SidecarStartupError
from tinker_client.local_server import start_local_server


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
def test_without_torch_the_extra_to_install_is_named() -> None:
    with pytest.raises(SidecarStartupError) as caught:
        start_local_server("transformers", "--model", "any")
    said = str(caught.value).partition("before it listened: ")[2]
    assert said.startswith("the engine transformers needs what cannot be imported here (")
    assert "torch" in said
    assert said.endswith('): pip install "tinker-sidecar[hf]"')
