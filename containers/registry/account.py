"""Taglock's own account at a registry that keeps accounts: Basic, or exchanged for Bearer tokens.

The registry's challenge says which, and where its token service is. A token is asked for each
repository and action by itself, and kept until shortly before it expires. All of it happens within
the deadline of the call that needs it.
"""

import base64
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, urlencode, urlsplit

from containers.registry.challenges import BASIC, Challenge, find_challenge
from containers.registry.exchange import (
    NoLoginError,
    RegistryAnswer,
    RegistryUnavailableError,
    exchange,
)
from containers.registry.passwords import (
    Password,
    fixed_password,
    password_from_command,
    password_from_file,
)
from containers.registry.strict_json import parse_json
from containers.tokens.grants import ResourceAccess
from workspaces.transport import Pool, make_pool

MAX_TOKENS_KEPT = 512
MAX_TOKEN_LENGTH = 32 * 1024
_MAX_REALM_LENGTH = 2048
_MAX_SERVICES_KEPT = 8
# Where the token service does not say (the Docker registry's token specification).
_DEFAULT_TOKEN_SECONDS = 60
_MAX_TOKEN_SECONDS = 24 * 60 * 60
# A token is used for one more call until so long before it expires.
_SPARE_SECONDS = 30


class _UnknownScopeError(NoLoginError):
    """The token service cannot read what it is asked for."""


class _RefusedError(Exception):
    """The token service does not accept user name and password."""


@dataclass(frozen=True)
class _Token:
    """A token, until when it is used by time.monotonic(), and the scope to ask for the next one."""

    text: str
    used_until: float
    scope: str


class Accounts(StrEnum):
    """Who keeps the accounts of those who push and pull."""

    # Taglock does, and the registry trusts its tokens.
    TOKENS = "tokens"
    REGISTRY = "registry"
    # Taglock does, and the registry knows Taglock alone, or lets everyone in.
    TAGLOCK = "taglock"


class Unassigned(StrEnum):
    """What happens to a write to a repository that belongs to no workspace."""

    REFUSE = "refuse"
    # It goes to a registry that keeps the accounts as it is.
    ALLOW = "allow"


@dataclass(frozen=True)
class RegistryLogin:
    """User name and password of Taglock's own account; the password is from one of its sources."""

    username: str
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    password_command: tuple[str, ...] = field(default=(), repr=False)

    def find_password(self) -> Password:
        """Return the password, which is read where it is needed."""
        if self.password_command:
            return password_from_command(self.password_command)
        if self.password_file is not None:
            return password_from_file(self.password_file)
        return fixed_password(self.password)


class RegistryAccount:
    """An account at the registry at `url`. For many threads; used only within a Deadline."""

    def __init__(self, url: str, login: RegistryLogin, ca_file: Path | None = None) -> None:
        self._address = urlsplit(url)
        self._username = login.username
        self._password = login.find_password()
        self._ca_file = ca_file
        self._pool = make_pool(self._address, ca_file)
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: OrderedDict[tuple[ResourceAccess, ...], _Token] = OrderedDict()
        self._services: OrderedDict[tuple[str, str], Pool] = OrderedDict()

    def authorize(self, *access: ResourceAccess) -> str:
        """Return the header `Authorization` for a call. Raises RegistryUnavailableError."""
        challenge = self._challenge
        if challenge is None:
            challenge = self._challenge = self._ask_for_challenge()
        if challenge.scheme == BASIC:
            return self._basic(self._password.get())
        with self._lock:
            token = self._tokens.get(access)
        if token is None or token.used_until <= time.monotonic():
            token = self._fetch_known(challenge, access, token)
        return f"Bearer {token.text}"

    def renew(self, access: ResourceAccess, answer: RegistryAnswer, sent: str) -> str:
        """Return another header after the registry answered 401 to `sent`; empty for none.

        The answer's challenge counts from now on. Raises RegistryUnavailableError.
        """
        challenge = find_challenge(answer.headers.get("WWW-Authenticate", ""))
        if challenge is None:
            return ""
        self._challenge = challenge
        if challenge.scheme == BASIC:
            refused = self._password.get()
            if sent != self._basic(refused):
                return self._basic(refused)
            another = self._password.get_after_refusal(refused)
            return self._basic(another) if another else ""
        scope = challenge.get("scope") or to_scope(access)
        return f"Bearer {self._fetch_token(challenge, (access,), scope).text}"

    def _fetch_known(
        self, challenge: Challenge, access: tuple[ResourceAccess, ...], former: _Token | None
    ) -> _Token:
        """Fetch a token for what the registry named before, or else for what it is likely to want.

        A token service that knows no such scope gives one for nothing. The registry then names with
        its 401 what it wants.
        """
        try:
            return self._fetch_token(
                challenge, access, former.scope if former else to_scope(*access)
            )
        except _UnknownScopeError:
            return self._fetch_token(challenge, access, "")

    def _ask_for_challenge(self) -> Challenge:
        """Ask without an account; a registry that lets everyone in is told who is calling anyway.

        Section "API Version Check" of the Docker registry's HTTP API.
        """
        target = f"{self._address.path.rstrip('/')}/v2/"
        try:
            answer = _ask(self._pool, target, {})
        except RegistryUnavailableError as error:
            raise NoLoginError(f"no challenge: {error}", cause=error.cause) from error
        challenge = find_challenge(answer.headers.get("WWW-Authenticate", ""))
        if answer.status == 401 and challenge is None:
            raise NoLoginError("it asks neither for Basic nor for Bearer")
        if answer.status not in (200, 401):
            raise NoLoginError(f"{answer.reason} to {target}", cause=answer.reason)
        return challenge if challenge and answer.status == 401 else Challenge(BASIC)

    def _fetch_token(
        self, challenge: Challenge, access: tuple[ResourceAccess, ...], scope: str
    ) -> _Token:
        realm = parse_realm(challenge.get("realm"), self._address)
        asked = [("service", challenge.get("service")), ("account", self._username)]
        asked += [("scope", each) for each in scope.split(" ")]
        query = urlencode([(name, value) for name, value in asked if value])
        target = f"{realm.path or '/'}?{'&'.join(filter(None, (realm.query, query)))}"
        pool = self._service(realm)
        password = self._password.get()
        asked_at = time.monotonic()
        try:
            answer = self._ask_service(pool, target, password)
        except _RefusedError:
            another = self._password.get_after_refusal(password)
            if not another:
                raise NoLoginError(
                    f"its token service does not accept {self._username} with this password"
                ) from None
            answer = self._ask_service(pool, target, another)
        if answer.status == 400 and scope:
            raise _UnknownScopeError(_describe_refusal(answer))
        text, seconds = _read_token(answer)
        token = _Token(text, asked_at + seconds, scope)
        with self._lock:
            self._tokens[access] = token
            self._tokens.move_to_end(access)
            while len(self._tokens) > MAX_TOKENS_KEPT:
                self._tokens.popitem(last=False)
        return token

    def _ask_service(self, pool: Pool, target: str, password: str) -> RegistryAnswer:
        try:
            answer = _ask(pool, target, {"Authorization": self._basic(password)})
        except RegistryUnavailableError as error:
            raise NoLoginError(f"no token: {error}") from error
        if answer.status in (401, 403):
            raise _RefusedError
        return answer

    def _service(self, realm: SplitResult) -> Pool:
        """Return the connections to a token service."""
        origin = (realm.scheme, realm.netloc)
        with self._lock:
            pool = self._services.get(origin)
            if pool is None:
                pool = self._services[origin] = make_pool(realm, self._ca_file)
                while len(self._services) > _MAX_SERVICES_KEPT:
                    self._services.popitem(last=False)
        return pool

    def _basic(self, password: str) -> str:
        return f"Basic {base64.b64encode(f'{self._username}:{password}'.encode()).decode()}"


def to_scope(*access: ResourceAccess) -> str:
    """Return what a token service is asked for."""
    return " ".join(f"{each.type}:{each.name}:{','.join(each.actions)}" for each in access)


def parse_realm(realm: str, registry: SplitResult) -> SplitResult:
    """Return the address of the registry's token service.

    A password is never sent in the clear to another host than the registry, nor at all to one that
    TLS was asked for. Raises RegistryUnavailableError for an address that is not used.
    """
    try:
        if len(realm) > _MAX_REALM_LENGTH or not (realm.isascii() and realm.isprintable()):
            raise ValueError("not an address")
        parts = urlsplit(realm)
        if not parts.hostname or " " in realm or "@" in parts.netloc or parts.port == 0:
            raise ValueError("not an address")
    except ValueError as error:
        raise NoLoginError("the address of its token service cannot be read") from error
    is_as_private = registry.scheme == "http" and parts.hostname == registry.hostname
    if parts.scheme != "https" and not (parts.scheme == "http" and is_as_private):
        raise NoLoginError(
            f"its token service at {parts.scheme}://{parts.netloc} would get the password in the "
            "clear: give it an address with https://"
        )
    return parts


def _ask(pool: Pool, target: str, headers: dict[str, str]) -> RegistryAnswer:
    return exchange(pool, "GET", target, {"Accept": "application/json", **headers})


def _read_token(answer: RegistryAnswer) -> tuple[str, float]:
    """Return the token in the answer of a token service, and for how many seconds to use it.

    Raises RegistryUnavailableError.
    """
    if not answer.is_success:
        raise NoLoginError(_describe_refusal(answer))
    try:
        found = parse_json(answer.body)
        text, seconds = found.get("token") or found.get("access_token"), found.get("expires_in")
    except (ValueError, AttributeError) as error:
        raise NoLoginError("its token service answered without a token") from error
    if not (isinstance(text, str) and 0 < len(text) <= MAX_TOKEN_LENGTH and _is_plain(text)):
        raise NoLoginError("its token service answered with a token that is none")
    if not isinstance(seconds, int) or seconds <= 0:
        seconds = _DEFAULT_TOKEN_SECONDS
    seconds = min(seconds, _MAX_TOKEN_SECONDS)
    return text, max(seconds - _SPARE_SECONDS, seconds / 2)


def _describe_refusal(answer: RegistryAnswer) -> str:
    return f"no token: {answer.reason.replace('the registry', 'its token service', 1)}"


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text
