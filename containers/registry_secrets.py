"""Passwords and authorities of registries that have a row: by the registry's name, never in it.

The operator keeps them in variables of each process. For the registry `harbor` they are
REGISTRY_HARBOR_PASSWORD, or …_PASSWORD_FILE or …_PASSWORD_COMMAND, and REGISTRY_HARBOR_CA_FILE.
Site administrators choose a registry's name and address, so they could have a password sent to an
address of theirs: REGISTRY_HARBOR_URL says which one the password is for.
"""

import shlex
import ssl
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from containers.registry.account import RegistryLogin
from containers.registry.addresses import BadSettingError, parse_registry_url

_SOURCES = ("PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND")
_NO_LOGIN = RegistryLogin("")


@dataclass(frozen=True)
class RegistrySecrets:
    """Taglock's own account at a registry, and the authority of its certificate.

    `problem` says what is missing and what to set, if the account or the authority can't be used.
    """

    login: RegistryLogin = _NO_LOGIN
    ca_file: Path | None = None
    problem: str = ""


def variable_of(name: str, what: str) -> str:
    """Return the variable that has something of the registry of this name."""
    return f"REGISTRY_{name.upper().replace('-', '_')}_{what}"


def find_secrets(name: str, username: str, url: str) -> RegistrySecrets:
    """Return what the operator has set for the registry of this name and address."""
    ca_file = _read_path(name, "CA_FILE")
    problem = _describe_bad_authority(name, ca_file)
    if problem:
        return RegistrySecrets(problem=problem)
    if not username:
        return RegistrySecrets(ca_file=ca_file)
    login, problem = _find_login(name, username, url)
    return RegistrySecrets(login, ca_file, problem)


def _find_login(name: str, username: str, url: str) -> tuple[RegistryLogin, str]:
    given = [source for source in _SOURCES if _read(name, source)]
    if len(given) != 1:
        password, *others = (variable_of(name, source) for source in _SOURCES)
        what = f"{password}, or {' or '.join(others)}"
        return _NO_LOGIN, f"Set {what}." if not given else f"Set only one of {what}."
    if not _is_for(_read(name, "URL"), url):
        variable = variable_of(name, "URL")
        return _NO_LOGIN, f"Set {variable}={url} too: the password is sent to no other address."
    try:
        command = tuple(shlex.split(_read(name, "PASSWORD_COMMAND")))
    except ValueError:
        variable = variable_of(name, "PASSWORD_COMMAND")
        return _NO_LOGIN, f"{variable} has a quotation that does not end."
    password_file = _read_path(name, "PASSWORD_FILE")
    return RegistryLogin(username, _read(name, "PASSWORD"), password_file, command), ""


def _is_for(text: str, url: str) -> bool:
    try:
        return bool(text) and parse_registry_url(text) == url
    except BadSettingError:
        return False


def _describe_bad_authority(name: str, ca_file: Path | None) -> str:
    if ca_file is None:
        return ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except (OSError, ssl.SSLError):
        variable = variable_of(name, "CA_FILE")
        return f"{variable} names a file that can't be read or has no certificate in PEM format."
    return ""


def _read(name: str, what: str) -> str:
    variables: dict[str, str] = settings.REGISTRY_VARIABLES_SECRET
    return variables.get(variable_of(name, what), "")


def _read_path(name: str, what: str) -> Path | None:
    text = _read(name, what)
    return Path(text).absolute() if text else None
