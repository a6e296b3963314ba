"""Addresses that an operator sets: each is checked completely, and a bad one gets one line.

No message shows an address, since it may hold a password.
"""

import os
import re
import ssl
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from containers.registry.addresses import (
    HOST_NAME,
    BadSettingError,
    bracket,
    check_encoded,
    is_ipv6,
    parse_registry_url,
    parse_site_url,
    split_address,
)

__all__ = [
    "MAX_CONNECT_TIMEOUT_SECONDS",
    "BadSettingError",
    "bracket",
    "check_allowed_host",
    "check_email_url",
    "check_folder",
    "parse_database_url",
    "parse_redis_url",
    "parse_registry_url",
    "parse_site_url",
]

DATABASE_EXAMPLE = "postgresql://taglock:password@db.example.org/taglock"
SQLITE_EXAMPLE = "sqlite:////srv/taglock/taglock.sqlite3"
REDIS_EXAMPLE = "redis://127.0.0.1:6379/0"
EMAIL_EXAMPLE = "smtp://user:password@mail.example.org:587"
MAX_CONNECT_TIMEOUT_SECONDS = 60

_REDIS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
)
_REDIS_CHOICES = {
    "ssl_cert_reqs": ("required", "none"),
    "ssl_check_hostname": ("true", "false"),
}
# Options of libpq that Taglock would not work with, and what to do instead.
_REFUSED_OPTIONS = {
    "client_encoding": "Taglock always uses UTF8",
    "options": "set parameters with ALTER ROLE … SET instead",
    "replication": "Taglock needs an ordinary connection",
    "service": "write the server's address into DATABASE_URL instead",
}
_WRITABLE_SESSIONS = ("any", "read-write", "primary")
_DATABASE_FILES = ("passfile", "sslcert", "sslcrl", "sslkey", "sslrootcert")
_DATABASE_NUMBERS = {
    "connect_timeout": (1, MAX_CONNECT_TIMEOUT_SECONDS),
    "keepalives": (0, 1),
    "keepalives_count": (0, 1000),
    "keepalives_idle": (0, 1_000_000),
    "keepalives_interval": (0, 1_000_000),
    "tcp_user_timeout": (0, 999_999_999),
}
# What libpq says about values before it connects. Anything later is about a server.
_BAD_VALUE = re.compile(r"invalid |could not match |weak ")


def check_allowed_host(host: str) -> None:
    """Refuse what matches no `Host` header: see Django's ALLOWED_HOSTS for what does."""
    if host == "*":
        return
    name = host.removeprefix(".")
    is_address = name.startswith("[") and name.endswith("]") and is_ipv6(name[1:-1])
    if not is_address and ("_" in name or not HOST_NAME.fullmatch(name)):
        raise BadSettingError(
            f"ALLOWED_HOSTS has {host!a}: write host names alone, without a scheme or a port, "
            "separated by commas, such as tags.example.org,[::1]"
        )


def parse_redis_url(value: str) -> str:
    """Return a Redis address; one with TLS asks for a valid certificate unless it says otherwise.

    Celery would not, and so would give the password to anyone in between.
    """
    parts = split_address("REDIS_URL", value, ("redis", "rediss"), REDIS_EXAMPLE)
    if not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) or parts.fragment:
        raise BadSettingError(
            f"REDIS_URL must end with the number of a database, such as {REDIS_EXAMPLE}"
        )
    options = _read_options("REDIS_URL", parts.query)
    known = _REDIS_OPTIONS if parts.scheme == "rediss" else frozenset()
    _check_known("REDIS_URL", options, known)
    for option, choices in _REDIS_CHOICES.items():
        if options.get(option, choices[0]) not in choices:
            raise BadSettingError(f"REDIS_URL: {option} must be {' or '.join(choices)}")
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option in options:
            _check_file("REDIS_URL", option, options[option])
    if parts.scheme == "redis" or "ssl_cert_reqs" in options:
        return value
    return f"{value}{'&' if parts.query else '?'}ssl_cert_reqs=required"


def check_email_url(value: str) -> None:
    """Refuse an address that mail cannot be handed to."""
    parts = split_address("EMAIL_URL", value, ("smtp", "smtps"), EMAIL_EXAMPLE)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BadSettingError(f"EMAIL_URL has something after the port: write {EMAIL_EXAMPLE}")
    if bool(parts.username) != bool(parts.password):
        raise BadSettingError(
            f"EMAIL_URL must have both a user and a password, or neither: write {EMAIL_EXAMPLE}"
        )


def check_ca_file(name: str, ca_file: Path, needed: str, url: str) -> None:
    """Refuse a file without certificates, and one that no connection would use."""
    if not url.startswith("https://"):
        raise BadSettingError(f"{name} needs {needed} that begins with https://")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise BadSettingError(f"{name}: {ca_file} has no certificate in PEM format") from error
    except OSError as error:
        raise BadSettingError(f"{name} cannot be read: {error}") from error


def parse_database_url(value: str) -> dict[str, Any]:
    """Return Django's settings of the database. Every option is in them, or is refused."""
    if not value.isprintable() or " " in value:
        raise BadSettingError(
            "DATABASE_URL has a blank or a control character: percent-encode it, such as %20"
        )
    if value.startswith("sqlite:"):
        return _parse_sqlite_url(value)
    if value.startswith(("postgresql://", "postgres://")):
        return _parse_postgresql_url(value)
    raise BadSettingError(
        f"DATABASE_URL must begin with postgresql:// or sqlite:///, such as {DATABASE_EXAMPLE}"
    )


def check_folder(name: str, path: Path) -> None:
    """Refuse a path that is, or leads through, something other than a folder."""
    nearest = next(each for each in (path, *path.parents) if os.path.exists(each))
    if not nearest.is_dir():
        raise BadSettingError(f"{name}: {path} must be a folder, and {nearest} is a file")


def _parse_sqlite_url(value: str) -> dict[str, Any]:
    rest = value.removeprefix("sqlite:///")
    if "?" in rest or "#" in rest:
        raise BadSettingError(
            f"DATABASE_URL has options, and SQLite takes none: write one like {SQLITE_EXAMPLE}"
        )
    path = unquote(rest)
    if rest == value or not path.strip("/") or path == ":memory:" or "\0" in path:
        raise BadSettingError(f"DATABASE_URL must name a file, such as {SQLITE_EXAMPLE}")
    file = Path(path).absolute()
    check_folder("DATABASE_URL", file.parent)
    if file.is_dir():
        raise BadSettingError(f"DATABASE_URL must name a file, and {file} is a folder")
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": path}


def _parse_postgresql_url(value: str) -> dict[str, Any]:
    """Read an address as libpq does, so that psql and pg_dump take the same one."""
    try:
        parts = urlsplit(value)
        check_encoded("DATABASE_URL", parts)
        options = _read_options("DATABASE_URL", parts.query)
        known = {default.keyword.decode() for default in pq.Conninfo.get_defaults()}
        _check_known("DATABASE_URL", options, known | {"ssl"})
        for option in options:
            if advice := _REFUSED_OPTIONS.get(option):
                raise BadSettingError(f"DATABASE_URL cannot set {option}: {advice}")
        info = {key: str(each) for key, each in conninfo_to_dict(value).items() if each}
    except (ValueError, psycopg.ProgrammingError) as error:
        raise BadSettingError(
            "DATABASE_URL cannot be read: percent-encode special characters in its parts, as in "
            f"{DATABASE_EXAMPLE}"
        ) from error
    _check_database_options(info)
    if not info.get("dbname"):
        raise BadSettingError(f"DATABASE_URL names no database: write one like {DATABASE_EXAMPLE}")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": info.pop("dbname"),
        "USER": info.pop("user", ""),
        "PASSWORD": info.pop("password", ""),
        "HOST": info.pop("host", ""),
        "PORT": info.pop("port", ""),
        "OPTIONS": info,
    }


def _check_database_options(info: dict[str, str]) -> None:
    if info.get("target_session_attrs", "any") not in _WRITABLE_SESSIONS:
        raise BadSettingError(
            "DATABASE_URL: target_session_attrs must be read-write, primary or any: Taglock writes"
        )
    for option, (least, most) in _DATABASE_NUMBERS.items():
        text = info.get(option, str(least))
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadSettingError(
                f"DATABASE_URL: {option} must be a whole number from {least} to {most}"
            )
    for option in _DATABASE_FILES:
        if option in info and (option, info[option]) != ("sslrootcert", "system"):
            _check_file("DATABASE_URL", option, info[option])
    if problem := _ask_libpq(info):
        raise BadSettingError(f"DATABASE_URL: {problem}")


def _ask_libpq(info: dict[str, str]) -> str:
    """Return what libpq finds wrong with the values, or nothing. No server is asked.

    It checks them before it connects, here to a socket that does not exist.
    """
    hosts = ",".join("/nonexistent" for _ in info.get("host", "").split(","))
    asked = {
        key: value
        for key, value in info.items()
        if key not in ("hostaddr", "passfile", "password", "sslpassword")
    }
    connection = pq.PGconn.connect_start(make_conninfo("", **{**asked, "host": hosts}).encode())
    message = connection.error_message.decode(errors="replace").partition("\n")[0]
    connection.finish()
    if message.startswith(("invalid port number", "invalid integer value")):
        # What is in its place may be part of a password.
        return "the port must be a number from 1 to 65535, such as 5432"
    if not _BAD_VALUE.match(message):
        return ""
    return f"{message}; write libpq's connection parameters, such as sslmode=verify-full"


def _read_options(name: str, query: str) -> dict[str, str]:
    """Return the options of an address. Raises BadSettingError if one is there twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise BadSettingError(f"{name}: write options as ?name=value&name=value") from error
    for option, count in Counter(option for option, _ in pairs).items():
        if count > 1:
            raise BadSettingError(f"{name} has the option {option!a} more than once")
    for option, value in pairs:
        if not value:
            raise BadSettingError(f"{name}: the option {option!a} is empty: leave it out")
    return dict(pairs)


def _check_known(name: str, options: dict[str, str], known: set[str] | frozenset[str]) -> None:
    for option in options:
        if option not in known:
            raise BadSettingError(
                f"{name} has an unknown option {option!a}: check its spelling, or leave it out"
            )


def _check_file(name: str, option: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise BadSettingError(f"{name}: the file of {option} cannot be read: {error}") from error
