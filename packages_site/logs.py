"""Log lines that tell no secret: some addresses are secrets, since whoever has them may come in."""

import logging
import re

# An invitation or a password link, plain or within another address, up to the address's end. The
# addresses on which admins withdraw invitations have numbers alone.
_SECRET = re.compile(
    r"(?P<place>(?:(?<!/members)/|%2F)(?:invitations|accounts(?:/|%2F)password)(?:/|%2F))[^\s\"'<>?&]+",
    re.IGNORECASE,
)
_FORMATTER = logging.Formatter()


def mask_secrets(text: str) -> str:
    """Return `text` without what follows /invitations/ and /accounts/password/."""
    return _SECRET.sub(r"\g<place>…", text)


class SecretFilter(logging.Filter):
    """Masks secrets in records, whatever their message and its arguments are made of."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through, changed where it has to be."""
        try:
            message = record.getMessage()
        except Exception:
            # The handler complains of such a record by itself.
            return True
        masked = mask_secrets(message)
        if masked != message:
            record.msg, record.args = masked, None
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask_secrets(record.exc_text)
        return True
