"""API keys and the tokens they are exchanged for."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable

from tests.local_server.api import Answer, Api
from tests.waiting import wait_until

Serve = Callable[..., Api]


def capabilities(api: Api, key: str | None) -> Answer:
    api.api_key = key
    return api.get("get_server_capabilities")


def test_any_key_of_the_right_kind_or_none(api: Api) -> None:
    assert capabilities(api, "tml-anything").status == 200
    assert capabilities(api, None).status == 200
    refused = capabilities(api, "sk-1")
    assert (refused.status, refused.detail) == (401, "the API key must start with 'tml-'")


def test_only_the_servers_own_key(serve: Serve) -> None:
    api = serve("--api-key", "tml-mine")
    assert capabilities(api, "tml-mine").status == 200
    assert capabilities(api, "tml-yours").detail == "the API key is not this server's"
    missing = capabilities(api, None)
    assert (missing.status, missing.detail) == (401, "this server needs its API key in the X-API-Key header")
    assert "www-authenticate" not in missing.headers


def test_a_token_stands_for_the_key(serve: Serve) -> None:
    api = serve("--api-key", "tml-mine", "--jwt", "--jwt-lifetime", "600")
    api.api_key = "tml-mine"
    assert api.post("client/config", {"sdk_version": "1"}).json["pjwt_auth_enabled"] is True
    token = api.post("auth/token", {}).json["jwt"]
    claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == 600
    assert capabilities(api, token).status == 200
    assert capabilities(api, "tml-yours").status == 401


def test_forged_and_expired_tokens_are_invalid(serve: Serve) -> None:
    api = serve("--jwt", "--jwt-lifetime", "1")
    token = api.post("auth/token", {}).json["jwt"]
    for forged in (token[:-4] + "AAAA", "eyJ", "eyJ.eyJ.", token.replace(".", "")):
        refused = capabilities(api, forged)
        assert (refused.status, refused.detail) == (401, "the token is not one of this server's")
        assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    wait_until(lambda: capabilities(api, token).status != 200)
    expired = capabilities(api, token)
    assert (expired.status, expired.detail) == (401, "the token has expired")
    assert expired.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def test_no_tokens_unless_asked_for(api: Api) -> None:
    assert api.post("auth/token", {}).status == 404
