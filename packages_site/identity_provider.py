"""Check, when a process starts, what is set of single sign-on. No message shows a secret."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from packages_site.addresses import BadSettingError, check_ca_file
from workspaces.single_sign_on.settings import Provider
from workspaces.text import find_bad_character

_EXAMPLE = "https://login.example.org/realms/main"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_ISSUER_LENGTH = 255
MAX_NAME_LENGTH = 40
# What Taglock says itself in each authorization request.
_OWN_PARAMETERS = frozenset(
    {
        "client_id",
        "client_secret",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)
# RFC 6749, appendix A.4.
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def make_provider(
    issuer: str,
    client_id: str,
    client_secret: str,
    *,
    name: str,
    scopes: str,
    parameters: str,
    username_claim: str,
    groups_claim: str,
    ca_file: Path | None,
) -> Provider | None:
    """Return the provider that these settings are about; None without any.

    Raises BadSettingError.
    """
    if not issuer:
        _check_unused(client_id, client_secret, scopes, parameters, ca_file)
        return None
    _check_issuer(issuer)
    if ca_file is not None:
        check_ca_file("OIDC_CA_FILE", ca_file, "an OIDC_ISSUER", issuer)
    if not client_id:
        raise BadSettingError("OIDC_CLIENT_ID is missing: OIDC_ISSUER needs it")
    _check_text("OIDC_CLIENT_ID", client_id)
    _check_text("OIDC_CLIENT_SECRET", client_secret)
    _check_text("OIDC_NAME", name, MAX_NAME_LENGTH)
    _check_text("OIDC_USERNAME_CLAIM", username_claim)
    _check_text("OIDC_GROUPS_CLAIM", groups_claim)
    return Provider(
        issuer,
        client_id,
        client_secret,
        name,
        _read_scopes(scopes) if scopes else None,
        _read_parameters(parameters),
        username_claim,
        groups_claim,
        ca_file,
    )


def check_passwords(provider: Provider | None, *, has_passwords: bool) -> None:
    """Refuse a site that no one could sign in to. Raises BadSettingError."""
    if provider is None and not has_passwords:
        raise BadSettingError(
            "LOCAL_PASSWORDS=false needs OIDC_ISSUER: without either, no one could sign in"
        )


def _check_unused(
    client_id: str, client_secret: str, scopes: str, parameters: str, ca_file: Path | None
) -> None:
    """Refuse settings of a provider that is not named: the one that names it was forgotten."""
    unused = {
        "OIDC_CLIENT_ID": client_id,
        "OIDC_CLIENT_SECRET": client_secret,
        "OIDC_SCOPES": scopes,
        "OIDC_PARAMETERS": parameters,
        "OIDC_CA_FILE": ca_file,
    }
    for name, value in unused.items():
        if value:
            raise BadSettingError(f"{name} needs OIDC_ISSUER, such as {_EXAMPLE}")


def _check_issuer(issuer: str) -> None:
    """Refuse what names no provider. It is compared as it stands, up to its last slash."""
    try:
        parts = urlsplit(issuer)
        is_local = parts.hostname in _LOOPBACK
        is_address = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = is_local = False
        parts = urlsplit("")
    is_plain = re.fullmatch(r"[\x21-\x7e]+", issuer) and not re.search(r"[?#@\\]", issuer)
    if not (is_address and is_plain and parts.scheme in ("http", "https")):
        raise BadSettingError(
            f"OIDC_ISSUER must be the provider's address, without ? and #, such as {_EXAMPLE}"
        )
    if parts.scheme == "http" and not is_local:
        raise BadSettingError(
            "OIDC_ISSUER must begin with https://: only a provider on this machine needs no TLS"
        )
    if "/.well-known/" in issuer:
        raise BadSettingError(
            "OIDC_ISSUER must end before /.well-known/: Taglock adds that part itself"
        )
    if len(issuer) > MAX_ISSUER_LENGTH:
        raise BadSettingError(f"OIDC_ISSUER has more than {MAX_ISSUER_LENGTH} characters")


def _check_text(name: str, text: str, max_length: int = 1000) -> None:
    if find_bad_character(text) or len(text) > max_length or text != text.strip():
        raise BadSettingError(
            f"{name} has a control character, a blank at an end, or more than {max_length} "
            "characters"
        )


def _read_scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(text.split())
    if "openid" not in scopes or not all(map(_SCOPE.fullmatch, scopes)):
        raise BadSettingError(
            "OIDC_SCOPES must be scopes with blanks between them, openid among them, such as "
            '"openid profile offline_access"'
        )
    return scopes


def _read_parameters(text: str) -> tuple[tuple[str, str], ...]:
    if not text:
        return ()
    try:
        pairs = tuple(parse_qsl(text, strict_parsing=True, keep_blank_values=True))
    except ValueError as error:
        raise BadSettingError(
            "OIDC_PARAMETERS must be written as in an address, such as access_type=offline&prompt="
            "consent"
        ) from error
    for name, _ in pairs:
        if name in _OWN_PARAMETERS:
            raise BadSettingError(f"OIDC_PARAMETERS must leave out {name}: Taglock sets it itself")
    return pairs
