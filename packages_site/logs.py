"""Log lines without secrets, which clients can neither forge nor make long.

Some addresses are secrets: anyone who has one can sign in.
"""

import logging
import re

# An invitation or a password link, plain or within another address, up to the address's end. The
# addresses on which admins withdraw invitations only have numbers.
_SECRET = re.compile(
    r"(?P<place>(?:(?<!/members)/|%2F)(?:invitations|accounts(?:/|%2F)password)(?:/|%2F))[^\s\"'<>?&]+",
    re.IGNORECASE,
)
_FORMATTER = logging.Formatter()

MAX_LINE_CHARACTERS = 1000
# Of a traceback; its end says what went wrong.
MAX_TRACEBACK_LINES = 100


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


class LineFormatter(logging.Formatter):
    """Writes a record as one line of limited length, without control characters.

    Only a failure of our own has a traceback below it, indented: the answer 4xx means that a client
    is wrong, and a line says how.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, perhaps with a traceback."""
        line = to_line(f"{record.levelname} {record.name}: {record.getMessage()}")
        if getattr(record, "status_code", 500) < 500:
            return line
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        below = f"{record.exc_text or ''}\n{record.stack_info or ''}".splitlines()
        kept = [to_line(f"  {each}") for each in below if each][-MAX_TRACEBACK_LINES:]
        return "\n".join([line, *kept])


def to_line(text: str) -> str:
    """Return `text` as one printable line of at most MAX_LINE_CHARACTERS."""
    kept = text[:MAX_LINE_CHARACTERS]
    escaped = "".join(each if each.isprintable() else _escape(each) for each in kept)
    if len(text) <= MAX_LINE_CHARACTERS >= len(escaped):
        return escaped
    end = f"… ({len(text)} characters)"
    return escaped[: MAX_LINE_CHARACTERS - len(end)] + end


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
