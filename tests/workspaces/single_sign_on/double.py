"""An identity provider within the process, with keys of its own, that says what a test wants."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

from workspaces.single_sign_on.provider import ProviderAwayError, ProviderClient
from workspaces.single_sign_on.settings import Provider
from workspaces.single_sign_on.tokens import LOGOUT_EVENT

ISSUER = "https://login.example.org/main"
CLIENT_ID = "taglock"
PROVIDER = Provider(ISSUER, CLIENT_ID, "a secret", name="Example ID")
START, CALLBACK = "/accounts/single-sign-on/", "/accounts/single-sign-on/callback/"
LOGOUT = "/accounts/single-sign-on/logout/"

# Made once: it takes longer than most tests.
KEY = ec.generate_private_key(ec.SECP256R1())
KEY_ID = "one"


def public_jwk(key: ec.EllipticCurvePrivateKey = KEY, key_id: str = KEY_ID) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": key_id}


def sign(claims: Mapping[str, Any], **header: Any) -> str:
    return jwt.encode(dict(claims), KEY, "ES256", {"kid": KEY_ID, **header})


def id_claims(**others: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": CLIENT_ID, "sub": "id|dana", "iat": now, "exp": now + 300}
    return {**base, **others}


def logout_claims(**others: Any) -> dict[str, Any]:
    base = {"jti": "once", "events": {LOGOUT_EVENT: {}}, "sid": "theirs"}
    return {**id_claims(), **base, **others}


class ProviderDouble:
    """Answers what ProviderClient sends, without a socket."""

    def __init__(self) -> None:
        self.client = ProviderClient(PROVIDER)
        self.client._send = self._answer  # type: ignore[method-assign]
        # What it says of the person who comes next, in the ID token and in userinfo.
        self.says: dict[str, Any] = {"preferred_username": "dana", "groups": [], "sid": "theirs"}
        self.tells: dict[str, Any] = {}
        self.is_away = False
        self.refuses_refresh: str | None = None
        self.gives_refresh_token = True
        self.sent: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self._nonce: str | None = None
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
        }

    def sign_in(self, browser: Client, next_page: str = "", **query: str) -> Any:
        """Send a browser to the provider and back; return the answer that it gets then."""
        asked = self.go(browser, next_page)
        self._nonce = asked["nonce"]
        return browser.get(CALLBACK, {"code": "abc", "state": asked["state"], **query})

    def go(self, browser: Client, next_page: str = "", **query: str) -> dict[str, str]:
        """Return what a browser is sent to the provider with."""
        sent = browser.get(START, {"next": next_page, **query} if next_page else query)
        assert sent.status_code == 302, sent.content
        return {name: each for name, (each,) in parse_qs(urlsplit(sent["Location"]).query).items()}

    def expect(self, nonce: str) -> None:
        """Answer the request of this nonce next."""
        self._nonce = nonce

    def _answer(
        self, method: str, address: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        if self.is_away:
            raise ProviderAwayError("the identity provider cannot be reached: TimeoutError")
        path = urlsplit(address).path.rpartition("/")[2]
        self.sent.append(path)
        if path == "token":
            found = self._give_tokens(parse_qs((body or b"").decode()))
        else:
            found = {
                "openid-configuration": self.metadata,
                "keys": {"keys": [public_jwk()]},
                "userinfo": {"sub": "id|dana", **self.tells},
            }[path]
        return (400 if "error" in found else 200), json.dumps(found).encode()

    def _give_tokens(self, form: dict[str, list[str]]) -> dict[str, Any]:
        self.forms.append(form)
        is_refresh = form["grant_type"] == ["refresh_token"]
        if is_refresh and self.refuses_refresh:
            return {"error": self.refuses_refresh}
        nonce = {} if is_refresh else {"nonce": self._nonce}
        tokens = {
            "access_token": "access",
            "token_type": "Bearer",
            "id_token": sign(id_claims(**nonce, **self.says) | self.says),
        }
        return tokens | ({"refresh_token": "refresh"} if self.gives_refresh_token else {})
