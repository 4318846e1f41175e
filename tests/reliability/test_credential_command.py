"""A credential command that says more than the credential: nothing of it is sent, shown or logged."""

from __future__ import annotations

import logging
import os

import pytest

from tinker_client import ServiceClient, TinkerError
from tinker_client.local_server import LocalServer

SECRET = "tml-very-secret"


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    "output",
    [
        f"warn: the cache is cold\\n{SECRET}",
        f"{SECRET}\\n{SECRET}",
        f"token: {SECRET}",
        f"{SECRET}\\033[0m",
        f"{SECRET}\\303\\251",
        f"{SECRET}\\377",
    ],
)
def test_it_must_print_one_word(
    sim_server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, output: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"printf '{output}'")
    with pytest.raises(TinkerError, match="TINKER_CREDENTIAL_CMD printed something else") as caught:
        ServiceClient(base_url=sim_server.base_url)
    assert "secret" not in str(caught.value) + caplog.text


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("value", [f"{SECRET}\nx", f"{SECRET}\x00"])
def test_a_header_that_cannot_be_sent_is_named_and_not_quoted(
    sim_server: LocalServer, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Exception, match="header") as caught:
        ServiceClient(
            base_url=sim_server.base_url, api_key="tml-tests", default_headers_overrides={"X-Team": value}
        )
    assert "x-team" in str(caught.value).lower()
    assert "secret" not in str(caught.value) + caplog.text
