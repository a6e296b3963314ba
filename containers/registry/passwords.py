"""Where the password of Taglock's own account comes from: a text, a file or a command.

A file and a command are asked again after a while, and when the registry refuses what they said
before: passwords such as ECR's are valid for some hours.
"""

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from containers.registry.exchange import NoLoginError
from workspaces.text import find_bad_character
from workspaces.transport import seconds_left

MAX_PASSWORD_LENGTH = 16 * 1024
MAX_COMMAND_SECONDS = 15.0
_FILE_KEPT_SECONDS = 60.0
_COMMAND_KEPT_SECONDS = 30 * 60.0
# A refused password is not read again sooner: every call of a registry that refuses would run the
# command once more.
_REREAD_SECONDS = 10.0


class PasswordError(Exception):
    """The password cannot be had. The message says why, without it."""


class Password:
    """A password that is read where it is needed, and kept for a while. For many threads."""

    def __init__(self, read: Callable[[], str], kept_seconds: float) -> None:
        self._read = read
        self._kept_seconds = kept_seconds
        self._lock = threading.Lock()
        self._text = ""
        self._read_at = -float("inf")

    def get(self) -> str:
        """Return the password. Only within a Deadline. Raises RegistryUnavailableError."""
        return self._get(self._kept_seconds)

    def get_after_refusal(self, refused: str) -> str:
        """Return a password other than the refused one; empty if there is none now.

        Only within a Deadline. Raises RegistryUnavailableError.
        """
        text = self._get(self._kept_seconds)
        if text == refused:
            text = self._get(_REREAD_SECONDS)
        return "" if text == refused else text

    def _get(self, kept_seconds: float) -> str:
        # One thread reads; the others wait for it no longer than their call may take.
        if not self._lock.acquire(timeout=seconds_left()):
            raise NoLoginError("its password takes too long to read")
        try:
            if time.monotonic() - self._read_at >= min(kept_seconds, self._kept_seconds):
                self._text, self._read_at = self._read(), time.monotonic()
            return self._text
        except PasswordError as error:
            raise NoLoginError(str(error)) from error
        finally:
            self._lock.release()


def fixed_password(text: str) -> Password:
    """Return a password that never changes."""
    return Password(lambda: text, float("inf"))


def password_from_file(path: Path) -> Password:
    """Return a password that a file has, in its only line."""
    return Password(lambda: read_password_file(path), _FILE_KEPT_SECONDS)


def password_from_command(command: Sequence[str]) -> Password:
    """Return a password that a command prints, in its only line. It is run without a shell."""
    return Password(lambda: run_password_command(command), _COMMAND_KEPT_SECONDS)


def read_password_file(path: Path) -> str:
    """Return the password in a file. Raises PasswordError."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_PASSWORD_LENGTH + 2)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise PasswordError(f"the file with its password cannot be read: {reason}") from error
    return _check(text, "the file with its password")


def run_password_command(command: Sequence[str]) -> str:
    """Return the password that a command prints. Raises PasswordError."""
    seconds = min(MAX_COMMAND_SECONDS, seconds_left())
    try:
        done = subprocess.run(  # noqa: S603  (the operator's own command)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
        text = done.stdout.decode()
    except subprocess.TimeoutExpired as error:
        raise PasswordError("the command for its password does not end") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordError("the command for its password cannot be run, or read") from error
    if done.returncode != 0:
        raise PasswordError(f"the command for its password ended with status {done.returncode}")
    return _check(text, "what the command for its password printed")


def _check(text: str, source: str) -> str:
    text = text.strip()
    if not text or len(text) > MAX_PASSWORD_LENGTH or find_bad_character(text):
        raise PasswordError(f"{source} is not one line with a password")
    return text
