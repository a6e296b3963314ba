"""Check a connection to a registry step by step, and say what is missing and how to fix it.

Nothing is written: what deletes would do is asked of a manifest and a tag that no one has.
"""

import json
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from containers.names import (
    Digest,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_repository,
    parse_tag,
)
from containers.registry.challenges import BEARER, find_challenge
from containers.registry.client import CallerRefusedError, RegistryClient
from containers.registry.exchange import RegistryAnswer, RegistryUnavailableError, exchange
from workspaces.text import quote
from workspaces.transport import Deadline, is_link_local, make_context, make_pool

# Of all steps together.
MAX_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_MAX_REPOSITORIES_TRIED = 5
_NO_NAME = "taglock/No-such-repository"
_NO_REPOSITORY = RepositoryName("taglock/no-such-repository")


class Outcome(StrEnum):
    """How a step ended. After a failure nothing else is tried."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"

    @property
    def label(self) -> str:
        return {"ok": "OK", "warning": "Warning", "failed": "Failed"}[self.value]


@dataclass(frozen=True)
class Finding:
    """What one step found and, where that is not as it should be, what to do."""

    outcome: Outcome
    what: str
    advice: str = ""
    step: str = ""


def summarize(findings: Sequence[Finding]) -> str:
    """Return in a sentence what the findings of a checkup mean."""
    outcomes = [finding.outcome for finding in findings]
    if Outcome.FAILED in outcomes:
        return "The registry can't be used like this."
    if Outcome.WARNING in outcomes:
        return "The registry can be used. Read the warnings."
    return "Everything is as it should be."


@dataclass(frozen=True)
class Words:
    """What advice calls the settings of a connection."""

    url: str = "REGISTRY_URL"
    ca_file: str = "REGISTRY_CA_FILE"
    accounts: str = "set REGISTRY_ACCOUNTS, REGISTRY_USERNAME and a password"
    account: str = "REGISTRY_USERNAME and the password"


@dataclass
class Checkup:
    """A registry at `url`, and what is expected of it.

    `realm` and `service` are those of the token service that its challenge is to name; empty where
    the registry does not trust Taglock's tokens. `public_url` is where the edge is, and
    `edge_service` what tokens there are for, if that is to be looked at. `problem` says why
    Taglock's own account can't be used.
    """

    url: str
    client: RegistryClient
    ca_file: Path | None = None
    realm: str = ""
    service: str = ""
    public_url: str = ""
    edge_service: str = ""
    problem: str = ""
    words: Words = Words()
    # Of the first repository that has a tag.
    _repository: RepositoryName = field(default=_NO_REPOSITORY, init=False)
    _tag: TagName | None = field(default=None, init=False)

    @property
    def _address(self) -> SplitResult:
        return urlsplit(self.url)

    def run(self) -> list[Finding]:
        """Return what each step found, up to the first that failed."""
        steps: dict[str, Callable[[], Finding]] = {
            "Reach": self._reach,
            "TLS": self._speak_tls,
            "Challenge": self._read_challenge,
            "Account": self._log_in,
            "Catalog": self._list,
            "Manifest": self._read_manifest,
            "Deletes": self._ask_to_delete,
            "Deletes by tag": self._ask_to_delete_a_tag,
            "Referrers": self._ask_for_referrers,
            "Edge": self._write_at_edge,
        }
        findings: list[Finding] = []
        with Deadline(MAX_SECONDS):
            for name, step in steps.items():
                findings.append(replace(_take(step), step=name))
                if findings[-1].outcome is Outcome.FAILED:
                    break
        return findings

    def _reach(self) -> Finding:
        host, port = self._endpoint()
        try:
            with self._connect() as raw:
                peer = str(raw.getpeername()[0])
        except socket.gaierror:
            return _failed(
                f"The name {host} has no address.", f"Correct the host of {self.words.url}."
            )
        except OSError as error:
            return _failed(
                f"No connection to {host}:{port}: {error.strerror or error}.",
                f"Start the registry, correct host and port of {self.words.url}, or let this "
                "machine through its firewall.",
            )
        if is_link_local(peer):
            return _failed(
                f"The address of {host} is link-local: no registry is there.",
                f"Correct the host of {self.words.url}.",
            )
        return _ok(f"{host}:{port} takes connections.")

    def _speak_tls(self) -> Finding:
        if self._address.scheme != "https":
            return _ok(f"Not used: {self.words.url} begins with http://.")
        host, _ = self._endpoint()
        try:
            with (
                self._connect() as raw,
                make_context(self.ca_file).wrap_socket(raw, server_hostname=host) as secured,
            ):
                return _ok(f"{secured.version()}, and the certificate is valid for {host}.")
        except ssl.SSLCertVerificationError as error:
            return _failed(
                f"The certificate is not accepted: {error.verify_message}.",
                "If a private authority has signed it, name its certificate in "
                f"{self.words.ca_file}. Otherwise renew it, or write {self.words.url} with a name "
                "that it is for.",
            )
        except OSError as error:
            return _failed(
                f"No TLS: {error}.",
                f"If the registry speaks plain HTTP, write {self.words.url} so.",
            )

    def _read_challenge(self) -> Finding:
        answer = _ask_anonymously(self.client)
        challenge = find_challenge(answer.headers.get("WWW-Authenticate", ""))
        if answer.status == 200:
            return self._judge_openness()
        if answer.status != 401 or challenge is None:
            return _failed(
                f"GET {self._address.path}/v2/: {answer.reason}.",
                f"Correct {self.words.url}: what stands before /v2/ belongs to it, and nothing "
                "else.",
            )
        told = challenge.scheme.capitalize()
        if challenge.scheme == BEARER:
            told += f" of {quote(challenge.get('realm'))}, {quote(challenge.get('service'))}"
        if not self.realm:
            return _ok(f"It asks for {told}.")
        if (challenge.get("realm"), challenge.get("service")) == (self.realm, self.service):
            return _ok(f"It asks for {told}: Taglock's tokens.")
        return _failed(
            f"It asks for {told}, and not for Taglock's tokens.",
            f'Let the registry trust Taglock: realm {self.realm}, service "{self.service}". If it '
            f"has accounts of its own, {self.words.accounts}.",
        )

    def _judge_openness(self) -> Finding:
        what = "It lets everyone in who can reach it."
        if self.realm:
            return _failed(
                what,
                "Let the registry trust Taglock's tokens: the guide Accounts has its "
                "configuration. Until then anyone can pull everything, and upload layers.",
            )
        return _warning(what, "Make sure that only the edge and Taglock can reach it.")

    def _log_in(self) -> Finding:
        if self.problem:
            return _failed("Taglock's own account can't be used.", self.problem)
        answer = self.client.ask_version()
        if answer.is_success:
            return _ok("The registry accepts it.")
        advice = (
            "Give the registry the current certificates (manage.py token_keys export), and "
            "restart it. Compare the clocks of both machines."
            if self.realm
            else f"Correct {self.words.account}."
        )
        return _failed(f"It is not accepted: {answer.reason}.", advice)

    def _list(self) -> Finding:
        try:
            names, has_more = self.client.page_repositories()
        except RegistryUnavailableError as error:
            return _warning(
                f"It cannot be read: {error}.",
                "Let Taglock's account list the catalog. Until then, tags from before Taglock are "
                "locked when they are next pushed, and not in the background.",
            )
        for name in names[:_MAX_REPOSITORIES_TRIED]:
            with suppress(InvalidReferenceError, RegistryUnavailableError, IndexError):
                repository = parse_repository(name)
                self._tag = parse_tag(self.client.page_tags(repository)[0][0])
                self._repository = repository
                break
        count = f"at least {len(names)}" if has_more else f"{len(names)}"
        return _ok(f"Repositories: {count}.")

    def _read_manifest(self) -> Finding:
        if self._tag is None:
            return _ok("Not tried: no repository with a tag was found.")
        found = self.client.head_manifest(self._repository, self._tag)
        if found is None:
            return _warning(
                f"{self._repository} lists the tag {self._tag}, and has no manifest there.",
                "Look at that tag. The registry's storage may be damaged.",
            )
        return _ok(f"{self._repository}:{self._tag} is {found.digest.short}.")

    def _ask_to_delete(self) -> Finding:
        nothing = Digest(f"sha256:{secrets.token_hex(32)}")
        answer = self.client.delete_manifest(self._repository, nothing)
        if answer.status in (202, 404):
            return _ok("They are allowed.")
        return _warning(
            f"They are not allowed: {answer.reason}.",
            "Allow them in the registry (Distribution: storage.delete.enabled), and to Taglock's "
            "account. Until then no one can delete a manifest.",
        )

    def _ask_to_delete_a_tag(self) -> Finding:
        nothing = TagName(f"taglock-{secrets.token_hex(16)}")
        answer = self.client.delete_manifest(self._repository, nothing)
        if answer.status in (202, 404):
            return _ok("They are allowed.")
        return _warning(
            f"They are not supported: {answer.reason}.",
            "Nothing has to be done: Taglock deletes by digest where no other tag is on the image, "
            "and otherwise names the tags that are.",
        )

    def _ask_for_referrers(self) -> Finding:
        nothing = Digest(f"sha256:{secrets.token_hex(32)}")
        answer = self.client.ask_referrers(self._repository, nothing)
        if answer.is_success:
            return _ok("The registry lists them.")
        return _warning(
            "The registry does not list them.",
            "Nothing has to be done: clients keep signatures under tags of their own, which stay "
            "mutable unless the settings say otherwise.",
        )

    def _write_at_edge(self) -> Finding:
        """Find out whether a write reaches the gate, by a name that only the gate refuses so."""
        expected = ""
        try:
            parse_repository(_NO_NAME)
        except InvalidReferenceError as error:
            expected = error.message
        edge = urlsplit(self.public_url)
        try:
            answer = exchange(make_pool(edge), "PUT", f"/v2/{_NO_NAME}/manifests/v1", {}, b"")
        except RegistryUnavailableError as error:
            return _warning(
                f"{self.public_url} cannot be reached from here: {error}.",
                "Make sure that clients reach the edge there, and run this where they are.",
            )
        if json.dumps(expected) in answer.body.decode(errors="replace"):
            return self._read_at_edge(edge)
        return _failed(
            f"Writes at {self.public_url} do not reach the gate: {answer.reason}.",
            "Correct the edge: every method but GET and HEAD on a manifest goes to the gate. Until "
            "then tags can be written past every lock.",
        )

    def _read_at_edge(self, edge: SplitResult) -> Finding:
        """Find out whether pulls lead to this registry and to no other, by the challenge there."""
        asked = ""
        if self.edge_service:
            answer = exchange(make_pool(edge), "GET", "/v2/", {})
            challenge = find_challenge(answer.headers.get("WWW-Authenticate", ""))
            asked = challenge.get("service") if challenge else "none"
        if asked == self.edge_service:
            return _ok(f"Writes at {self.public_url} reach the gate.")
        return _failed(
            f"Pulls at {self.public_url} lead to another registry: tokens there are for "
            f"{quote(asked)}, and not for {quote(self.edge_service)}.",
            "Give the edge a server that leads to this registry, with this host name first in its "
            "server_name.",
        )

    def _endpoint(self) -> tuple[str, int]:
        default = 443 if self._address.scheme == "https" else 80
        return self._address.hostname or "", self._address.port or default

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._endpoint(), _CONNECT_SECONDS)


def _take(step: Callable[[], Finding]) -> Finding:
    try:
        return step()
    except RegistryUnavailableError as error:
        return _failed(f"No answer: {error}.", "Read the registry's log, and try again.")


def _ask_anonymously(client: RegistryClient) -> RegistryAnswer:
    try:
        return client.acting_for("").ask_version()
    except CallerRefusedError as refused:
        return refused.answer


def _ok(what: str) -> Finding:
    return Finding(Outcome.OK, what)


def _warning(what: str, advice: str) -> Finding:
    return Finding(Outcome.WARNING, what, advice)


def _failed(what: str, advice: str) -> Finding:
    return Finding(Outcome.FAILED, what, advice)
