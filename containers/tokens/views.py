"""The token service, /auth/token: name and password in, a token for the registry out."""

import time
from datetime import UTC, datetime

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.views.decorators.csrf import csrf_exempt

from containers.registries import Connection, find_connection_with
from containers.tokens.clients import (
    NO_LOGIN,
    BadCredentialsError,
    grant,
    log_in,
    read_basic,
)
from containers.tokens.grants import TooManyScopesError, parse_scopes
from containers.tokens.keys import TokenKeyError
from containers.tokens.stored_keys import token_keys
from containers.tokens.tokens import SERVICE, TOKEN_SECONDS, sign_token
from workspaces.caller_access import read_origin
from workspaces.current_request import current_request
from workspaces.json_response import UTF8JsonResponse
from workspaces.metrics import LOGIN_FAILURES
from workspaces.problems import RETRY_AFTER_SECONDS
from workspaces.throttles import (
    TOKENS_PER_CALLER,
    TooManyCallsError,
    count_call,
    counted_address,
)

_METHODS = ("GET", "HEAD", "POST")


class _BadRequestError(Exception):
    """The specification has no such request. The message says why."""


@csrf_exempt
def issue_token(request: HttpRequest) -> HttpResponse:
    """Answer with a token for what the caller asks for and may do.

    GET carries the credentials by HTTP Basic, or none; POST is OAuth's password grant (RFC 6749,
    section 4.3), as containerd and buildkit send it. What may not be done is left out, without an
    error: the registry refuses it, and names what is missing. Every answer is JSON that clients can
    read, and is never cached.
    """
    try:
        answer = _answer(request)
    except BadCredentialsError as error:
        LOGIN_FAILURES.labels("token_service").inc()
        answer = _error(401, "UNAUTHORIZED", str(error))
        answer["WWW-Authenticate"] = 'Basic realm="taglock", charset="UTF-8"'
    except (_BadRequestError, TooManyScopesError) as error:
        answer = _error(400, "UNSUPPORTED", str(error))
    except RequestDataTooBig:
        answer = _error(413, "SIZE_INVALID", "The request is too large.")
    except (SuspiciousOperation, BadRequest, MultiPartParserError):
        answer = _error(400, "UNSUPPORTED", "The form cannot be read, or has too many fields.")
    except TooManyCallsError as error:
        answer = _error(429, "TOOMANYREQUESTS", str(error))
        answer["Retry-After"] = str(error.retry_after_seconds)
    except AnyDatabaseError:
        answer = _error(503, "UNAVAILABLE", "The database cannot be used at the moment. Try again.")
        answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    except TokenKeyError as error:
        current_request().detail = str(error)
        answer = _error(503, "UNAVAILABLE", "No token can be signed. Tell an operator.")
        answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
    answer["Cache-Control"] = "no-store"
    return answer


def _answer(request: HttpRequest) -> HttpResponse:
    asked = request.POST if request.method == "POST" else request.GET
    registry = find_connection_with(asked.get("service", SERVICE))
    if registry is None:
        raise _BadRequestError("This token service is for other registries.")
    if registry.keeps_accounts:
        return _error(404, "UNSUPPORTED", "Log in at the registry: it keeps the accounts.")
    if request.method not in _METHODS:
        return _refuse_method()
    return _give_token(request, asked, registry)


def _give_token(request: HttpRequest, asked: QueryDict, registry: Connection) -> HttpResponse:
    origin = read_origin(request)
    scopes = parse_scopes(asked.getlist("scope"))
    credentials = (
        _read_password_grant(asked)
        if request.method == "POST"
        else read_basic(request.headers.get("Authorization", ""))
    )
    # Before anything is hashed. By the name as it is sent: no one knows yet whose it is.
    subject = ("login", credentials[0]) if credentials else ("address",)
    count_call(TOKENS_PER_CALLER, *subject, counted_address(origin.address))
    login = log_in(*credentials, origin) if credentials else NO_LOGIN
    now = int(time.time())
    key, granted = token_keys().find_signing_key(), grant(login, scopes, registry.id)
    token = sign_token(key, login.caller, granted, now, service=registry.service)
    return UTF8JsonResponse(
        {
            "token": token,
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "issued_at": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        }
    )


def _read_password_grant(form: QueryDict) -> tuple[str, str]:
    if form.get("grant_type") != "password":
        raise _BadRequestError('The only grant_type is "password".')
    if "username" not in form or "password" not in form:
        raise _BadRequestError("Send username and password.")
    return str(form["username"]), str(form["password"])


def _refuse_method() -> HttpResponse:
    answer = _error(405, "UNSUPPORTED", "Use GET or POST.")
    answer["Allow"] = ", ".join(_METHODS)
    return answer


def _error(status: int, code: str, message: str) -> HttpResponse:
    error = {"code": code, "message": message, "detail": {}}
    return UTF8JsonResponse({"errors": [error]}, status=status)
