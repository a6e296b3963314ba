"""The identity provider, asked over HTTP: what it is, its keys, tokens for a code, who someone is.

Each call has one deadline and a limit of what is read, follows no redirect, and goes to addresses
of HTTPS alone, unless the provider is on this machine.
"""

import base64
import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import urllib3
from django.conf import settings
from django.core.checks import CheckMessage, Error

from workspaces.pool import release_database
from workspaces.single_sign_on.claims import find_claim
from workspaces.single_sign_on.settings import Provider
from workspaces.single_sign_on.tokens import (
    BadTokenError,
    Claims,
    SigningKey,
    parse_keys,
    read_key_id,
    verify_id_token,
)
from workspaces.text import quote
from workspaces.transport import Deadline, make_pool

CALL_SECONDS = 10.0
MAX_ANSWER_BYTES = 1024 * 1024
# How long what the provider says of itself counts in this process.
METADATA_SECONDS = 600.0
# A key that is not known makes keys be read again, no more often than this.
KEYS_AGAIN_SECONDS = 30.0
# Those that Taglock has a use for, where the provider has them.
_USEFUL_SCOPES = ("openid", "profile", "groups", "offline_access")
_ALWAYS_THERE = ("openid", "profile")

_logger = logging.getLogger(__name__)


class ProviderAwayError(Exception):
    """The provider gave no answer that says anything. The message is for an operator."""


class ProviderRefusedError(Exception):
    """The provider refused what it was given. `code` is OAuth's, such as invalid_grant."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the identity provider answered {quote(code)}")
        self.code = code


@dataclass(frozen=True)
class Metadata:
    """What the provider says of itself (OpenID Connect Discovery)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    scopes: tuple[str, ...]
    sends_secret_in_form: bool


@dataclass(frozen=True)
class Tokens:
    """What the provider gave for a code or a refresh token."""

    access_token: str = field(repr=False)
    id_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)


class ProviderClient:
    """A provider, and what this process remembers of it: nothing that another could not read."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._lock = threading.Lock()
        # Who reads the keys: others wait, and go on with what was read.
        self._reads_keys = threading.Lock()
        self._metadata: Metadata | None = None
        self._metadata_until = 0.0
        self._keys: list[SigningKey] = []
        self._keys_until = 0.0
        self._keys_again_at = 0.0

    def read_metadata(self) -> Metadata:
        """Return what the provider says of itself. Raises ProviderAwayError."""
        with self._lock:
            if self._metadata is not None and time.monotonic() < self._metadata_until:
                return self._metadata
        address = f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = self._parse_metadata(self._read_json("GET", address))
        with self._lock:
            self._metadata = metadata
            self._metadata_until = time.monotonic() + METADATA_SECONDS
        return metadata

    def find_keys(self, token: str) -> Sequence[SigningKey]:
        """Return the provider's keys, read again if none of them is the one that `token` names.

        Raises ProviderAwayError and BadTokenError.
        """
        key_id = read_key_id(token)
        keys, is_enough = self._find_known_keys(key_id)
        if is_enough:
            return keys
        # The call of someone else may be about to bring it.
        release_database()
        if not self._reads_keys.acquire(timeout=CALL_SECONDS):
            raise ProviderAwayError("the identity provider takes its time for its keys")
        try:
            keys, is_enough = self._find_known_keys(key_id)
            return keys if is_enough else self._read_keys()
        finally:
            self._reads_keys.release()

    def _find_known_keys(self, key_id: str | None) -> tuple[Sequence[SigningKey], bool]:
        """Return the keys as they were read, and whether they are not to be read again."""
        with self._lock:
            now = time.monotonic()
            # A key that the provider has withdrawn is not trusted for longer.
            keys = self._keys if now < self._keys_until else []
            is_known = any(key_id in (None, key.id) for key in keys)
            return keys, is_known or now < self._keys_again_at

    def _read_keys(self) -> Sequence[SigningKey]:
        keys = parse_keys(self._read_json("GET", self.read_metadata().jwks_uri))
        with self._lock:
            now = time.monotonic()
            self._keys, self._keys_until = keys, now + METADATA_SECONDS
            self._keys_again_at = now + KEYS_AGAIN_SECONDS
        return keys

    def make_authorization_url(
        self, *, redirect_uri: str, state: str, nonce: str, challenge: str
    ) -> str:
        """Return where a browser goes to sign in there. Raises ProviderAwayError."""
        metadata = self.read_metadata()
        query = {
            **dict(self.provider.parameters),
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.provider.scopes or metadata.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        separator = "&" if urlsplit(metadata.authorization_endpoint).query else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(query)}"

    def exchange_code(self, code: str, *, redirect_uri: str, verifier: str) -> Tokens:
        """Return the tokens for a code. Raises ProviderAwayError and ProviderRefusedError."""
        return self._ask_for_tokens(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
            }
        )

    def refresh(self, refresh_token: str) -> Tokens:
        """Return new tokens for an old one. Raises ProviderAwayError and ProviderRefusedError."""
        return self._ask_for_tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def read_claims(self, tokens: Tokens, *, nonce: str | None = None) -> Claims:
        """Return what the provider says of the person whom tokens are about, verified.

        Without a nonce they are those of a refresh, which need no ID token. What that lacks the
        provider is asked for. Raises ProviderAwayError and BadTokenError.
        """
        said: Claims = {}
        if tokens.id_token:
            said = verify_id_token(
                tokens.id_token,
                self.find_keys(tokens.id_token),
                issuer=self.provider.issuer,
                client_id=self.provider.client_id,
                nonce=nonce,
            )
        elif nonce is not None:
            raise BadTokenError("the provider sent no ID token")
        wanted = (self.provider.username_claim, self.provider.groups_claim)
        endpoint = self.read_metadata().userinfo_endpoint
        if not endpoint or (said and all(find_claim(said, each) is not None for each in wanted)):
            return said
        told = self._read_json("GET", endpoint, bearer=tokens.access_token)
        # It could be about someone else: only the ID token is signed for Taglock.
        if said and told.get("sub") != said["sub"]:
            raise BadTokenError("the provider's userinfo is about someone else (sub)")
        return {**told, **said}

    def _ask_for_tokens(self, form: Mapping[str, str]) -> Tokens:
        metadata, provider = self.read_metadata(), self.provider
        headers, sent = {}, dict(form)
        if provider.client_secret and not metadata.sends_secret_in_form:
            # Both are encoded as in a form first (RFC 6749, section 2.3.1).
            pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            sent["client_id"] = provider.client_id
            if provider.client_secret:
                sent["client_secret"] = provider.client_secret
        found = self._read_json("POST", metadata.token_endpoint, form=sent, headers=headers)
        access_token, token_type = found.get("access_token"), str(found.get("token_type", ""))
        if not isinstance(access_token, str) or token_type.lower() != "bearer":
            raise ProviderAwayError("the identity provider sent no access token")
        others = [found.get(name) or "" for name in ("id_token", "refresh_token")]
        return Tokens(access_token, *(each if isinstance(each, str) else "" for each in others))

    def _parse_metadata(self, found: Mapping[str, Any]) -> Metadata:
        if found.get("issuer") != self.provider.issuer:
            raise ProviderAwayError(
                f"the identity provider calls itself {quote(str(found.get('issuer')))}: "
                "OIDC_ISSUER must be just that"
            )
        required = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        endpoints = {name: found.get(name) for name in (*required, "userinfo_endpoint")}
        for name, address in endpoints.items():
            if (address or name in required) and not self._is_address(address):
                raise ProviderAwayError(f"the identity provider has no usable {name}")
        methods = _texts(found.get("token_endpoint_auth_methods_supported"))
        offered = _texts(found.get("scopes_supported"))
        return Metadata(
            str(endpoints["authorization_endpoint"]),
            str(endpoints["token_endpoint"]),
            str(endpoints["jwks_uri"]),
            str(endpoints["userinfo_endpoint"] or ""),
            tuple(each for each in _USEFUL_SCOPES if each in (*_ALWAYS_THERE, *offered)),
            # Where nothing is said, it is Basic.
            bool(methods) and "client_secret_basic" not in methods,
        )

    def _is_address(self, address: object) -> bool:
        if not isinstance(address, str) or not address.isascii() or "@" in address:
            return False
        try:
            parts = urlsplit(address)
            return bool(parts.hostname) and self._may_call(parts.scheme)
        except ValueError:
            return False

    def _may_call(self, scheme: str) -> bool:
        return scheme == "https" or (scheme == "http" and not self.provider.is_secure)

    def _read_json(
        self,
        method: str,
        address: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        bearer: str = "",
    ) -> dict[str, Any]:
        """Return the object that the provider answers.

        Raises ProviderRefusedError for an error of OAuth, and ProviderAwayError for all else.
        """
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        sent["User-Agent"] = "taglock"
        body = None
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form).encode()
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        status, answer = self._send(method, address, sent, body)
        found = _parse_object(answer)
        if status == 200 and found is not None:
            return found
        code = (found or {}).get("error")
        if form is not None and status in (400, 401, 403) and isinstance(code, str):
            raise ProviderRefusedError(code)
        place = urlsplit(address).path
        raise ProviderAwayError(f"the identity provider answered {status} to {quote(place)}")

    def _send(
        self, method: str, address: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """Send one request; return status and body. Raises ProviderAwayError."""
        parts = urlsplit(address)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        pool = make_pool(parts, self.provider.ca_file)
        release_database()
        try:
            with Deadline(CALL_SECONDS):
                response = pool.urlopen(
                    method,
                    target,
                    body=body,
                    headers=dict(headers),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                answer = response.read(MAX_ANSWER_BYTES + 1)
                response.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ProviderAwayError(
                f"the identity provider cannot be reached: {type(error).__name__}"
            ) from error
        finally:
            pool.close()
        if len(answer) > MAX_ANSWER_BYTES:
            raise ProviderAwayError("the identity provider answered more than 1 MiB")
        return response.status, answer


def _parse_object(answer: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _texts(found: object) -> list[str]:
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


_clients: dict[Provider, ProviderClient] = {}


def find_provider() -> ProviderClient | None:
    """Return the provider that is set; None where there is no single sign-on."""
    provider: Provider | None = settings.PROVIDER_SECRET
    if provider is None:
        return None
    return _clients.setdefault(provider, ProviderClient(provider))


def check_provider(app_configs: object, **options: object) -> list[CheckMessage]:
    """Say what is wrong with the provider that is set, for `manage.py check --deploy`."""
    client = find_provider()
    try:
        if client is not None:
            client.read_metadata()
    except ProviderAwayError as error:
        return [Error(str(error), id="taglock.E003")]
    return []


def forget_providers() -> None:
    """Forget what this process remembers of any provider."""
    _clients.clear()
