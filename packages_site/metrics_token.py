"""The token that those who scrape /metrics have to send. No message shows it."""

import re

from packages_site.addresses import BadSettingError

MIN_METRICS_TOKEN_LENGTH = 20
# What a header can say behind "Bearer" (RFC 6750).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def check_metrics_token(token: str) -> None:
    """Refuse a token that is too short to be a secret, or that no header can say.

    Empty: /metrics is off. Raises BadSettingError.
    """
    if token and (len(token) < MIN_METRICS_TOKEN_LENGTH or not _TOKEN.fullmatch(token)):
        raise BadSettingError(
            f"METRICS_TOKEN must have at least {MIN_METRICS_TOKEN_LENGTH} characters, letters, "
            "digits and any of ._~+/- alone, such as `openssl rand -hex 32` prints"
        )
