"""Addresses of web servers: each is checked completely, and a bad one gets one line. No Django."""

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "http://127.0.0.1:5000"
# Names of machines: underscores are found inside container networks, never in what browsers send.
HOST_NAME = re.compile(r"(?!.*\.\.)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", re.IGNORECASE)


class BadSettingError(Exception):
    """A variable has a value that Taglock cannot run with. The message is one line."""


def parse_site_url(name: str, value: str, example: str, *, is_public: bool) -> str:
    """Return `http(s)://host[:port]` in lower case, without a port that is the default.

    A public address is one that browsers send: its host can appear in the header `Host`.
    """
    parts = split_address(name, value, ("http", "https"), example)
    rest = value.split("://", 1)[1].removeprefix(parts.netloc)
    if rest.strip("/") or "@" in parts.netloc:
        raise BadSettingError(f"{name} must be scheme, host and port alone, such as {example}")
    host = (parts.hostname or "").lower()
    if is_public and "_" in host:
        raise BadSettingError(f"{name} has an underscore in its host: write one like {example}")
    port = parts.port
    suffix = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{bracket(host)}{suffix}"


def parse_registry_url(value: str, name: str = "REGISTRY_URL") -> str:
    """Return `http(s)://host[:port][/path]` of the registry, up to what stands before `/v2/`."""
    parts = split_address(name, value, ("http", "https"), _EXAMPLE)
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or "@" in parts.netloc or value.endswith(("?", "#")):
        raise BadSettingError(
            f"{name} must be scheme, host, port and path alone, such as {_EXAMPLE}"
        )
    if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*", path):
        raise BadSettingError(
            f"{name} has a path with other characters than letters, digits and . _ ~ -, such "
            "as https://repo.example.org/artifactory"
        )
    if path.endswith("/v2"):
        raise BadSettingError(
            f"{name} ends with /v2: leave that out, clients and Taglock add it themselves"
        )
    origin = value[: len(value) - len(parts.path)] if parts.path else value
    return parse_site_url(name, origin, _EXAMPLE, is_public=False) + path


def bracket(host: str) -> str:
    """Return a host as it appears in addresses and in the header `Host`."""
    return f"[{host}]" if ":" in host else host


def split_address(name: str, value: str, schemes: tuple[str, ...], example: str) -> SplitResult:
    """Split an address that has one of the schemes, a host, and a good port where it has any."""
    if not value.isprintable() or " " in value:
        raise BadSettingError(f"{name} has a blank or a control character: write {example}")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise BadSettingError(
            f"{name} has a bad host or port, or a password with special characters that are not "
            f"percent-encoded: write one like {example}"
        ) from error
    if parts.scheme not in schemes or not value.lower().startswith(f"{parts.scheme}://"):
        begins = " or ".join(f"{scheme}://" for scheme in schemes)
        raise BadSettingError(f"{name} must begin with {begins}, such as {example}")
    check_encoded(name, parts)
    if not (HOST_NAME.fullmatch(host) or is_ipv6(host)):
        raise BadSettingError(f"{name} has an invalid host: write one like {example}")
    if port == 0 or parts.netloc.endswith(":"):
        raise BadSettingError(f"{name}: the port must be from 1 to 65535, as in {example}")
    return parts


def check_encoded(name: str, parts: SplitResult) -> None:
    """Refuse an @ behind the host: a password with / or ? or # was cut off, and might be shown."""
    if any("@" in each for each in (parts.path, parts.query, parts.fragment)):
        raise BadSettingError(
            f"{name}: percent-encode special characters, / as %2F, ? as %3F, # as %23, @ as %40"
        )


def is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text
