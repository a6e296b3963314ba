"""Sign in at the identity provider, link an account to it, and be signed out by it."""

import hashlib
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from workspaces.access import Actor, ActorKind
from workspaces.caller_access import read_origin
from workspaces.json_response import UTF8JsonResponse
from workspaces.metrics import LOGIN_FAILURES
from workspaces.models import User
from workspaces.pages.account_forms import make_current_password_field
from workspaces.pages.back import read_next
from workspaces.pages.forms import render_form
from workspaces.problems import RETRY_AFTER_SECONDS
from workspaces.sign_in import verify_password
from workspaces.single_sign_on.claims import BadClaimsError, Person, read_person
from workspaces.single_sign_on.groups import apply_groups
from workspaces.single_sign_on.people import (
    NameTakenError,
    SwitchedOffError,
    begin_sign_on,
    link_identity,
)
from workspaces.single_sign_on.provider import (
    ProviderAwayError,
    ProviderClient,
    ProviderRefusedError,
    Tokens,
    find_provider,
)
from workspaces.single_sign_on.sessions import end_sessions, open_session
from workspaces.single_sign_on.tokens import BadTokenError, verify_logout_token
from workspaces.text import quote
from workspaces.throttles import (
    LOGOUT_TOKENS_PER_ADDRESS,
    SIGN_ONS_PER_ADDRESS,
    TooManyCallsError,
    count_call,
    counted_address,
    note_call,
    require_open,
)

# How long someone may take at the provider, and how many tabs of a browser may be there at once.
MAX_MINUTES_AWAY = 15
MAX_REQUESTS_OPEN = 5
MAX_ANSWER_LENGTH = 4096
# In the session: what was asked of the provider, by its state; and whom a person wants to link.
_REQUESTS = "sign_on_requests"
_LINK = "sign_on_link"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _SignOnRequest:
    """What a browser was sent to the provider with, and what is to happen when it is back."""

    nonce: str
    verifier: str
    next_page: str
    began_at: float
    # The id of the signed-in person who wants to link their account; 0 to sign in.
    linked_id: int = 0


class _SignOnError(Exception):
    """Someone cannot be signed in. The message is for them."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


class LinkForm(forms.Form):
    """The password that ends with the link."""

    current_password = make_current_password_field()


@require_safe
@never_cache
def start_sign_on(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider, to sign in or, with `link`, to link an account."""
    client = _require_provider()
    is_link = "link" in request.GET
    if request.user.is_authenticated and not is_link:
        return redirect(read_next(request, "/"))
    if is_link and not request.user.is_authenticated:
        return redirect("login")
    linked_id = (request.user.pk or 0) if is_link else 0
    asked = _SignOnRequest(
        secrets.token_urlsafe(32),
        secrets.token_urlsafe(48),
        read_next(request, "/"),
        time.time(),
        linked_id,
    )
    state = secrets.token_urlsafe(32)
    challenge = urlsafe_b64encode(hashlib.sha256(asked.verifier.encode()).digest())
    try:
        count_call(SIGN_ONS_PER_ADDRESS, counted_address(read_origin(request).address))
        address = client.make_authorization_url(
            redirect_uri=_callback_address(),
            state=state,
            nonce=asked.nonce,
            challenge=challenge.decode().rstrip("="),
        )
    except TooManyCallsError as error:
        response = _show_problem(request, str(error), 429)
        response["Retry-After"] = str(error.retry_after_seconds)
        return response
    except ProviderAwayError as error:
        return _say_away(request, error)
    opened = [*request.session.get(_REQUESTS, {}).items(), (state, asdict(asked))]
    request.session[_REQUESTS] = dict(opened[-MAX_REQUESTS_OPEN:])
    return redirect(address)


@require_safe
@never_cache
def finish_sign_on(request: HttpRequest) -> HttpResponse:
    """Sign someone in who comes back from the provider, and go on to the page that asked."""
    client = _require_provider()
    try:
        asked = _take_request(request)
        tokens, person = _ask_who(client, request, asked)
        if asked.linked_id:
            return _ask_to_link(request, asked, person)
        sign_on = begin_sign_on(client.provider.issuer, person, tokens.refresh_token)
    except _SignOnError as error:
        LOGIN_FAILURES.labels("single_sign_on").inc()
        return _show_problem(request, str(error), error.status)
    except NameTakenError as error:
        return _show_problem(request, "", 409, username=error.username)
    except SwitchedOffError:
        return _show_problem(
            request, "Your account here is deactivated. Ask a site administrator.", 403
        )
    except ProviderAwayError as error:
        return _say_away(request, error)
    user = sign_on.identity.user
    apply_groups(user, person.groups)
    open_session(request, User.objects.get(pk=user.pk), sign_on)
    return redirect(asked.next_page)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@never_cache
@login_required
def link_account(request: HttpRequest) -> HttpResponse:
    """Ask whether the account is to be linked to whom the provider named, and link it.

    Asked here, with the password: someone else could have signed this browser in at the provider.
    """
    client, wanted = _require_provider(), request.session.get(_LINK, {})
    user = User.objects.get(pk=request.user.pk or 0)
    if wanted.get("user_id") != user.pk or wanted.get("until", 0) < time.time():
        return redirect("account")
    form = LinkForm(request.POST if request.method == "POST" else None)
    context = {"form": form, "wanted": wanted, "provider": client.provider, "account": user}
    refusal = None
    if form.is_valid():
        origin = read_origin(request)
        try:
            password = form.cleaned_data["current_password"]
            verified = verify_password(user.username, password, origin)
            if verified is None:
                raise ValidationError("This is not your current password.")
            actor = Actor(user.username, ActorKind.PERSON, origin)
            link_identity(verified, client.provider.issuer, wanted["subject"], actor=actor)
        except TooManyCallsError as error:
            refusal = error
            form.add_error("current_password", str(error))
        except ValidationError as error:
            form.add_error("current_password", error.messages[0])
        else:
            # The password has gone, and this session with it.
            request.session.flush()
            messages.success(request, "Your account is linked. Sign in there from now on.")
            return redirect("login")
    return render_form(request, "workspaces/link_account.html", context, refusal)


@csrf_exempt
@require_POST
@never_cache
def end_sign_on(request: HttpRequest) -> HttpResponse:
    """End the sessions that a logout token of the provider names (Back-Channel Logout 1.0)."""
    client, address = _require_provider(), counted_address(read_origin(request).address)
    try:
        require_open(LOGOUT_TOKENS_PER_ADDRESS, address)
        token = request.POST.get("logout_token", "")
        claims = verify_logout_token(
            token,
            client.find_keys(token),
            issuer=client.provider.issuer,
            client_id=client.provider.client_id,
        )
        if not end_sessions(client.provider.issuer, claims):
            raise BadTokenError("the logout token was used before (jti)")
    except TooManyCallsError as error:
        response = _refuse_logout(429, str(error))
        response["Retry-After"] = str(error.retry_after_seconds)
        return response
    except ProviderAwayError as error:
        response = _refuse_logout(503, str(error))
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    except BadTokenError as error:
        note_call(LOGOUT_TOKENS_PER_ADDRESS, address)
        _logger.warning("A logout token is refused: %s", error)
        return _refuse_logout(400, str(error))
    return HttpResponse()


def _require_provider() -> ProviderClient:
    client = find_provider()
    if client is None:
        raise Http404
    return client


def _callback_address() -> str:
    return f"{settings.PUBLIC_URL}{reverse('finish-sign-on')}"


def _take_request(request: HttpRequest) -> _SignOnRequest:
    """Return what this browser asked the provider. It is answered once. Raises _SignOnError."""
    opened: dict[str, Any] = request.session.get(_REQUESTS, {})
    found = opened.pop(request.GET.get("state", ""), None)
    if found is None:
        raise _SignOnError("This sign-in is over, or began in another browser. Sign in again.", 400)
    request.session.modified = True
    asked = _SignOnRequest(**found)
    if time.time() - asked.began_at > MAX_MINUTES_AWAY * 60:
        raise _SignOnError("This sign-in took too long. Sign in again.", 400)
    return asked


def _ask_who(
    client: ProviderClient, request: HttpRequest, asked: _SignOnRequest
) -> tuple[Tokens, Person]:
    """Return the tokens for the code of a browser, and whom they are about.

    Raises _SignOnError and ProviderAwayError.
    """
    provider = client.provider
    # RFC 9207: an answer of another provider is none.
    if request.GET.get("iss", provider.issuer) != provider.issuer:
        raise _SignOnError("The answer is not from the identity provider of this site.", 400)
    code = request.GET.get("code", "")
    if not code or len(code) > MAX_ANSWER_LENGTH:
        said = quote(request.GET.get("error", "nothing"))
        _logger.warning("The identity provider signed someone in with no code: %s", said)
        raise _SignOnError(f"{provider.name} did not sign you in: it answered {said}.")
    try:
        tokens = client.exchange_code(
            code, redirect_uri=_callback_address(), verifier=asked.verifier
        )
        claims = client.read_claims(tokens, nonce=asked.nonce)
        return tokens, read_person(
            claims,
            username_claim=provider.username_claim,
            groups_claim=provider.groups_claim,
        )
    except (ProviderRefusedError, BadTokenError, BadClaimsError) as error:
        _logger.warning("Someone is not signed in: %s", error)
        raise _SignOnError(
            f"What {provider.name} says cannot be used. The operator of this site finds the reason "
            "in its log."
        ) from error


def _ask_to_link(request: HttpRequest, asked: _SignOnRequest, person: Person) -> HttpResponse:
    """Go on to the question whether it is meant. Raises _SignOnError."""
    if request.user.pk != asked.linked_id:
        raise _SignOnError("You have signed out meanwhile. Sign in, and link your account again.")
    request.session[_LINK] = {
        "user_id": asked.linked_id,
        "subject": person.subject,
        "name": person.suggested_name,
        "until": time.time() + MAX_MINUTES_AWAY * 60,
    }
    return redirect("link-account")


def _show_problem(
    request: HttpRequest, message: str, status: int, *, username: str = ""
) -> HttpResponse:
    context = {"message": message, "username": username, "provider": settings.PROVIDER_SECRET}
    return render(request, "workspaces/sign_on_problem.html", context, status=status)


def _say_away(request: HttpRequest, error: ProviderAwayError) -> HttpResponse:
    _logger.warning("No one can sign in: %s", error)
    response = _show_problem(
        request,
        "The identity provider gives no usable answer at the moment. Try again in a few seconds.",
        503,
    )
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _refuse_logout(status: int, reason: str) -> HttpResponse:
    error = {"error": "invalid_request", "error_description": reason}
    return UTF8JsonResponse(error, status=status)
