"""The server that mail is handed to, as EMAIL_URL names it."""

from dataclasses import dataclass
from email.utils import getaddresses
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from packages_site.addresses import BadSettingError, check_email_url


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in, and how: as Django's settings name it."""

    host: str
    port: int
    user: str
    password: str
    use_tls: bool
    use_ssl: bool


def parse_email_url(value: str) -> MailServer:
    """Return the mail server of a good EMAIL_URL: `smtp://` or `smtps://`, perhaps with a user.

    A password never travels unencrypted: `smtp://` with a user name, or on the port for handing
    mail in (RFC 6409), asks for STARTTLS and goes no further without.
    """
    parts = urlsplit(value)
    is_smtps = parts.scheme == "smtps"
    port = parts.port or (465 if is_smtps else 587 if parts.username else 25)
    return MailServer(
        host=parts.hostname or "",
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        use_tls=not is_smtps and (bool(parts.username) or port == 587),
        use_ssl=is_smtps,
    )


def check_mail(email_url: str, email_from: str) -> None:
    """Refuse a mail server without a sender, and a sender who is none. Raises BadSettingError."""
    if email_url:
        check_email_url(email_url)
        if not email_from:
            raise BadSettingError(
                "EMAIL_FROM is missing: EMAIL_URL needs an address to send from, such as "
                "Taglock <taglock@example.org>"
            )
    if email_from and not _is_one_mail_address(email_from):
        raise BadSettingError(
            "EMAIL_FROM is not an address: write one like Taglock <taglock@example.org>"
        )


def _is_one_mail_address(text: str) -> bool:
    found = getaddresses([text])
    try:
        validate_email(found[0][1])
    except ValidationError:
        return False
    return len(found) == 1 and text.isprintable()
