"""Log lines without secrets, which clients can neither forge nor make long.

Some addresses are secrets: anyone who has one can sign in.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from workspaces.current_request import current_request

# An invitation or a password link, plain or within another address, up to the address's end. The
# addresses on which admins withdraw invitations only have numbers.
_SECRET = re.compile(
    r"(?P<place>(?:(?<!/members)/|%2F)(?:invitations|accounts(?:/|%2F)password)(?:/|%2F))[^\s\"'<>?&]+",
    re.IGNORECASE,
)
_FORMATTER = logging.Formatter()
# What needs no quotes in a line of text.
_PLAIN = re.compile(r"[\w.,:;/@+%?&~#*!()\[\]-]+", re.ASCII)

# In what WSGI says of a request that has its line in the log: Django adds none to it.
IS_LOGGED = "taglock.is_logged"
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
        if fields := getattr(record, "fields", None):
            record.fields = {name: _mask_value(value) for name, value in fields.items()}
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = mask_secrets(record.exc_text)
        return True


class UnloggedFilter(logging.Filter):
    """Leaves out what Django says of an answer to a request that has its line already."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through unless its request was logged."""
        request = getattr(record, "request", None)
        return request is None or IS_LOGGED not in request.META


class LineFormatter(logging.Formatter):
    """Writes a record as one line of limited length, without control characters.

    A request's own line goes on with what is known of it, as name=value; a value that is more than
    one plain word is in double quotes, so that none looks like several. Only a failure of our own
    has a traceback below it, indented: the answer 4xx means that a client is wrong, and a line says
    how.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, perhaps with a traceback."""
        text = f"{record.levelname} {record.name}: {record.getMessage()}"
        if hasattr(record, "fields"):
            facts = _find_facts(record).items()
            text += "".join(f" {name}={_quote(value)}" for name, value in facts)
        return "\n".join([to_line(text), *_list_traceback(record)])


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, and what is known.

    Each text in it is as a line of the other format would have it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": to_line(record.getMessage()),
            **_find_facts(record),
        }
        if traceback := _list_traceback(record):
            values["traceback"] = "\n".join(traceback)
        shown = {
            name: to_line(value) if isinstance(value, str) and name != "traceback" else value
            for name, value in values.items()
        }
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))


def _find_facts(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is known of the request at hand, and what the record says of it."""
    facts = current_request().list_facts() | getattr(record, "fields", {})
    return {name: value for name, value in facts.items() if value != ""}


def _quote(value: Any) -> str:
    """Return a value as one word, or as JSON writes a text."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _mask_value(value: Any) -> Any:
    return mask_secrets(value) if isinstance(value, str) else value


def _list_traceback(record: logging.LogRecord) -> list[str]:
    """Return the lines of a failure of our own, indented; none of anything else."""
    if getattr(record, "status_code", 500) < 500:
        return []
    if record.exc_info and not record.exc_text:
        record.exc_text = _FORMATTER.formatException(record.exc_info)
    below = f"{record.exc_text or ''}\n{record.stack_info or ''}".splitlines()
    return [to_line(f"  {each}") for each in below if each][-MAX_TRACEBACK_LINES:]


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
