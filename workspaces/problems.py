"""The API's way of reading JSON and of saying what is wrong: problem details (RFC 9457)."""

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import Error as AnyDatabaseError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import (
    BooleanField,
    CharField,
    ChoiceField,
    DateTimeField,
    ListField,
    Serializer,
)

from workspaces.caller_access import UnknownWorkspaceError
from workspaces.current_request import current_request
from workspaces.problem_details import CONTENT_TYPE, make_sendable, problem_body
from workspaces.text import describe_bad_character
from workspaces.throttles import TooManyCallsError

RETRY_AFTER_SECONDS = 10

# Of a body: the deepest good one is a list of objects within an object.
MAX_JSON_DEPTH = 8
# Of one object.
MAX_JSON_KEYS = 100
# Of a whole number: more than a database's largest one has.
MAX_JSON_DIGITS = 32
# Of one answer, however much is wrong.
MAX_ERRORS = 20
MAX_DATE_TIME_LENGTH = 64
_MAX_SHOWN_NAME = 64


class Problem(exceptions.APIException):
    """An error answer. `code` is stable; `members` are added to the body, `headers` to the head."""

    def __init__(
        self,
        status_code: int,
        code: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.code = code
        self.members = dict(members or {})
        self.headers = dict(headers or {})


def undecided(detail: str = "Taglock cannot decide this now. Try again.") -> Problem:
    """Return the problem that says: nothing was decided, so refuse, and ask again later."""
    return Problem(
        status.HTTP_503_SERVICE_UNAVAILABLE,
        "undecided",
        detail,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


class StrictJSONParser(BaseParser):
    """JSON of a bounded size, depth and number of keys."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body. Raises ParseError, or Problem 413 where it is too large."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise Problem(413, "too_large", f"The body is larger than {limit} bytes.")
        try:
            document = json.loads(
                body,
                parse_constant=_refuse_constant,
                parse_int=_read_integer,
                object_pairs_hook=_read_object,
            )
        except RecursionError as error:
            raise exceptions.ParseError(_TOO_DEEP) from error
        except ValueError as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}") from error
        if _is_too_deep(document):
            raise exceptions.ParseError(_TOO_DEEP)
        return document


_TOO_DEEP = f"The JSON is nested too deeply: at most {MAX_JSON_DEPTH} levels are allowed."


def _read_integer(text: str) -> int:
    if len(text) > MAX_JSON_DIGITS:
        raise exceptions.ParseError(
            f"A number has {len(text)} digits; at most {MAX_JSON_DIGITS} are allowed."
        )
    return int(text)


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_JSON_KEYS:
        raise exceptions.ParseError(
            f"An object has {len(pairs)} keys; at most {MAX_JSON_KEYS} are allowed."
        )
    return dict(pairs)


def _is_too_deep(document: Any) -> bool:
    """Whether lists and objects are nested more than MAX_JSON_DEPTH times."""
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for value in level for inner in _list_inner(value)]
    return any(isinstance(value, list | dict) for value in level)


def _list_inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class AlwaysJSON(DefaultContentNegotiation):
    """Answer in JSON, whatever the Accept header says."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        first = next(iter(renderers))
        return first, first.media_type or "application/json"

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """Return the parser for the request's content type, or None."""
        return super().select_parser(request, parsers)


class StrictSerializer(Serializer[Any]):
    """Refuses fields that it does not know: a misspelled "dry_run" must not lock a tag."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated fields."""
        if isinstance(data, Mapping):
            unknown = sorted(str(key)[:_MAX_SHOWN_NAME] for key in data if key not in self.fields)
            if unknown:
                allowed = ", ".join(self.fields)
                raise exceptions.ValidationError(
                    {name: [f"Unknown field. Allowed fields: {allowed}."] for name in unknown}
                )
        return super().to_internal_value(data)


class TextField(CharField):
    """Text as it was sent: not stripped, and not made of a number or a truth value.

    Its length is checked before anything else looks at it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            raise exceptions.ValidationError(NO_TEXT)
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


NO_TEXT = "Must be a string."


class PlainTextField(TextField):
    """Text that people read: without control characters."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text. Raises ValidationError for control characters."""
        text = super().to_internal_value(data)
        if message := describe_bad_character(text):
            raise exceptions.ValidationError(message)
        return text


class OneOfField(ChoiceField):
    """One of a few texts. The error names them, and does not repeat what was sent."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the choice. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            raise exceptions.ValidationError(NO_TEXT)
        if data not in self.choices and not (data == "" and self.allow_blank):
            allowed = ", ".join(str(choice) for choice in self.choices)
            raise exceptions.ValidationError(f"Must be one of: {allowed}.")
        return super().to_internal_value(data)


class TruthField(BooleanField):
    """JSON's true or false, and nothing that only looks like one."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the value. Raises ValidationError for anything else."""
        if not isinstance(data, bool):
            raise exceptions.ValidationError("Must be true or false.")
        return data


class MomentField(DateTimeField):
    """A date and time, as text."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the moment. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            raise exceptions.ValidationError(NO_TEXT)
        if len(data) > MAX_DATE_TIME_LENGTH:
            self.fail("invalid", format="2026-12-31T00:00:00Z")
        return super().to_internal_value(data)


class BoundedListField(ListField):
    """A list whose length is checked before any of its items is looked at."""

    def __init__(self, *, max_length: int, **options: Any) -> None:
        super().__init__(max_length=max_length, **options)

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return the items. Raises ValidationError: one error for a list that is too long."""
        if isinstance(data, list) and self.max_length and len(data) > self.max_length:
            raise exceptions.ValidationError(
                f"There are {len(data)} items; at most {self.max_length} are allowed."
            )
        return super().to_internal_value(data)


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer an exception of an API view. None leaves it to Django: a bug, answered with 500."""
    problem = _to_problem(error)
    if problem is None:
        return None
    current_request().cause = str(problem.detail)
    response = Response(
        problem_body(problem.status_code, problem.code, str(problem.detail), problem.members),
        status=problem.status_code,
        headers=problem.headers,
        content_type=CONTENT_TYPE,
    )
    response.exception = True
    return response


def _to_problem(error: Exception) -> Problem | None:
    match error:
        case Problem():
            return error
        case UnknownWorkspaceError():
            return Problem(404, "NAME_UNKNOWN", str(error))
        case TooManyCallsError():
            return Problem(
                429,
                "too_many_calls",
                str(error),
                headers={"Retry-After": str(error.retry_after_seconds)},
            )
        case Http404():
            return Problem(404, "not_found", str(error) or "There is nothing here.")
        case PermissionDenied():
            return Problem(403, "forbidden", str(error) or "You may not do this.")
        case exceptions.APIException():
            return _translate(error)
        case AnyDatabaseError():
            return undecided("The database cannot be used now, so nothing was decided. Try again.")
    return None


def _translate(error: exceptions.APIException) -> Problem:
    """Return the problem for what the REST framework raises."""
    match error:
        case exceptions.ValidationError():
            errors = list(islice(_flatten(error.detail, ""), MAX_ERRORS))
            detail = " ".join(dict.fromkeys(each["detail"] for each in errors))
            code = next((each["code"] for each in errors if each["code"].isupper()), "invalid")
            return Problem(400, code, detail, members={"errors": errors})
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            challenge = getattr(error, "auth_header", 'Bearer realm="taglock"')
            return Problem(
                401,
                error.default_code,
                str(error.detail),
                headers={"WWW-Authenticate": challenge},
            )
    return Problem(error.status_code, error.default_code, str(error.detail))


def _flatten(detail: Any, pointer: str) -> Any:
    """Yield each message of a validation error with the JSON pointer of what it is about."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            escaped = str(name).replace("~", "~0").replace("/", "~1")
            step = "" if name == "non_field_errors" else f"/{escaped}"
            yield from _flatten(inner, pointer + step)
    elif isinstance(detail, list):
        for number, inner in enumerate(detail):
            is_message = isinstance(inner, exceptions.ErrorDetail)
            yield from _flatten(inner, pointer if is_message else f"{pointer}/{number}")
    else:
        yield {
            "detail": make_sendable(str(detail)),
            "pointer": make_sendable(f"#{pointer}"),
            "code": getattr(detail, "code", "invalid"),
        }
