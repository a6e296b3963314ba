"""Check, when a process starts, how Taglock logs in to the registry. No message shows a secret."""

import shutil
from pathlib import Path

from containers.registry.account import Accounts, RegistryLogin, Unassigned
from containers.registry.passwords import MAX_PASSWORD_LENGTH, PasswordError, read_password_file
from packages_site.addresses import BadSettingError, check_ca_file
from workspaces.slugs import describe_bad_slug
from workspaces.text import find_bad_character

MAX_USERNAME_LENGTH = 255
_SOURCES = "REGISTRY_PASSWORD, REGISTRY_PASSWORD_FILE or REGISTRY_PASSWORD_COMMAND"


def check_registry_ca(ca_file: Path | None, registry_url: str) -> None:
    """Refuse a file without certificates, and one that no connection would use.

    Raises BadSettingError.
    """
    if ca_file is not None:
        check_ca_file("REGISTRY_CA_FILE", ca_file, "a REGISTRY_URL", registry_url)


def check_repositories(workspace: str, unassigned: str, accounts: str) -> None:
    """Refuse what says nothing about whose repositories are. Raises BadSettingError."""
    if workspace and (problem := describe_bad_slug(workspace)):
        raise BadSettingError(f"REGISTRY_WORKSPACE: {problem}")
    if unassigned != Unassigned.REFUSE and accounts != Accounts.REGISTRY:
        raise BadSettingError(
            f"UNASSIGNED_REPOSITORIES={unassigned} needs REGISTRY_ACCOUNTS=registry: only the "
            "registry can say who may push what belongs to no workspace"
        )


def check_registry_login(login: RegistryLogin, registry_url: str, accounts: str) -> None:
    """Refuse a half of an account, or one that cannot be used. Raises BadSettingError."""
    sources = _list_sources(login)
    if not (login.username or sources):
        _check_needed(registry_url, accounts)
        return
    if not registry_url:
        raise BadSettingError(
            f"{sources[0] if sources else 'REGISTRY_USERNAME'} needs REGISTRY_URL, the registry "
            "that the account is at"
        )
    if not login.username:
        raise BadSettingError(
            f"REGISTRY_USERNAME is missing: {sources[0]} is the password of whom?"
        )
    if accounts == Accounts.TOKENS:
        raise BadSettingError(
            "REGISTRY_USERNAME needs REGISTRY_ACCOUNTS: say who keeps those of people and "
            "programs, registry or taglock"
        )
    _check_username(login.username)
    if len(sources) != 1:
        problem = "has several passwords: set only one of" if sources else "needs"
        raise BadSettingError(f"REGISTRY_USERNAME {problem} {_SOURCES}")
    _check_password(login)


def _check_needed(registry_url: str, accounts: str) -> None:
    if accounts == Accounts.TOKENS:
        return
    if not registry_url:
        raise BadSettingError(f"REGISTRY_ACCOUNTS={accounts} needs REGISTRY_URL")
    # A registry that lets everyone in needs no account of Taglock's.
    if accounts == Accounts.TAGLOCK:
        return
    raise BadSettingError(
        "REGISTRY_USERNAME is missing: REGISTRY_ACCOUNTS=registry needs an account of Taglock's own"
    )


def _list_sources(login: RegistryLogin) -> list[str]:
    """Return the variables that a password is set in."""
    sources = {
        "REGISTRY_PASSWORD": login.password,
        "REGISTRY_PASSWORD_FILE": login.password_file,
        "REGISTRY_PASSWORD_COMMAND": login.password_command,
    }
    return [name for name, value in sources.items() if value]


def _check_username(username: str) -> None:
    if ":" in username or find_bad_character(username) or len(username) > MAX_USERNAME_LENGTH:
        raise BadSettingError(
            "REGISTRY_USERNAME has a colon or a control character, or more than "
            f"{MAX_USERNAME_LENGTH} characters: HTTP Basic cannot send it"
        )


def _check_password(login: RegistryLogin) -> None:
    if len(login.password) > MAX_PASSWORD_LENGTH or find_bad_character(login.password):
        raise BadSettingError(
            "REGISTRY_PASSWORD has a control character, such as the end of a line, or is too long"
        )
    if login.password_file is not None:
        try:
            read_password_file(login.password_file)
        except PasswordError as error:
            raise BadSettingError(
                f"REGISTRY_PASSWORD_FILE: {login.password_file}: {error}"
            ) from error
    if login.password_command and shutil.which(login.password_command[0]) is None:
        raise BadSettingError(
            "REGISTRY_PASSWORD_COMMAND begins with a program that cannot be found: write its path"
        )
