"""The token that those who scrape /metrics have to send. No message shows it."""

import re
from pathlib import Path

from packages_site.addresses import BadSettingError

MIN_METRICS_TOKEN_LENGTH = 20
_MAX_FILE_BYTES = 4096
# What a header can say behind "Bearer" (RFC 6750).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def check_metrics_token(token: str, file: Path | None) -> None:
    """Refuse a token that is too short to be a secret, or cannot be read. Raises BadSettingError.

    `token` is empty, and `file` None, where they are not set.
    """
    if token and file is not None:
        raise BadSettingError("set only one of METRICS_TOKEN and METRICS_TOKEN_FILE")
    read_metrics_token(token, file)


def read_metrics_token(token: str, file: Path | None) -> str:
    """Return the token; empty: /metrics is off. Raises BadSettingError."""
    name = "METRICS_TOKEN"
    if file is not None:
        name, token = f"METRICS_TOKEN_FILE: what {file} has", _read(file)
    elif not token:
        return ""
    if len(token) < MIN_METRICS_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise BadSettingError(
            f"{name} must have at least {MIN_METRICS_TOKEN_LENGTH} characters, letters, digits and "
            "any of ._~+/- alone, such as `openssl rand -hex 32` prints"
        )
    return token


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_FILE_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise BadSettingError(f"METRICS_TOKEN_FILE cannot be read: {error}") from error
