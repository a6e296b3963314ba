"""Your own account: password, e-mail address, workspaces; and the way back in."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import (
    INTERNAL_RESET_SESSION_TOKEN,
    LogoutView,
    PasswordResetConfirmView,
)
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.http import urlsafe_base64_decode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from workspaces.access import Actor, ActorKind, Origin
from workspaces.actions.members import lock_active_person
from workspaces.actions.passwords import (
    LINK_TOKENS,
    InvalidLinkError,
    change_email,
    change_password,
    set_password_by_link,
)
from workspaces.actions.sign_in_links import SIGN_IN_TOKENS, use_sign_in_token
from workspaces.caller_access import read_origin
from workspaces.models import PasswordLinkRequest, User
from workspaces.pages.account_forms import (
    ChangeEmailForm,
    ChangePasswordForm,
    ForgottenPasswordForm,
    NewPasswordForm,
)
from workspaces.pages.forms import render_form
from workspaces.sign_in import verify_password
from workspaces.single_sign_on.sessions import close_sign_on, open_operators_session
from workspaces.text import read_number
from workspaces.throttles import (
    PASSWORD_LINKS_PER_ADDRESS,
    PASSWORD_LINKS_PER_EMAIL,
    TooManyCallsError,
    count_call,
    counted_address,
)


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Show the signed-in person's account, and change its password or e-mail address."""
    user = User.objects.select_related("identity").get(pk=request.user.pk or 0)
    has_password = settings.LOCAL_PASSWORDS and user.has_usable_password()
    if request.method == "POST" and not has_password:
        raise PermissionDenied("Your account has no password here.")
    sent = request.POST if request.method == "POST" else None
    is_password = "password" in request.POST
    password_form = ChangePasswordForm(user, sent if is_password else None)
    email_form = ChangeEmailForm(
        None if is_password else sent, initial={"email": user.email}, prefix="email"
    )
    form = password_form if is_password else email_form
    refusal = None
    if form.is_valid():
        try:
            if done := _change(request, user, form):
                messages.success(request, done)
                return redirect("account")
            form.add_error("current_password", "This is not your current password.")
        except TooManyCallsError as error:
            refusal = error
            form.add_error("current_password", str(error))
    context = {
        "account": user,
        "has_password": has_password,
        "is_linked": hasattr(user, "identity"),
        "provider": settings.PROVIDER_SECRET,
        "password_form": password_form,
        "email_form": email_form,
        # Of two forms, the summary of errors is about the one that was sent.
        "form": form,
        "memberships": user.memberships.select_related("workspace").order_by("workspace__slug"),
        "has_mail": settings.HAS_MAIL,
    }
    return render_form(request, "workspaces/account.html", context, refusal)


def _change(
    request: HttpRequest, user: User, form: ChangePasswordForm | ChangeEmailForm
) -> str | None:
    """Change what a valid form says, and return what to tell; None if the password is wrong.

    Raises PermissionDenied if they were deactivated meanwhile.
    """
    origin = read_origin(request)
    typed = form.cleaned_data["current_password"]
    verified = verify_password(user.username, typed, origin)
    if verified is None:
        return None
    actor = Actor(user.username, ActorKind.PERSON, origin)
    with transaction.atomic():
        if lock_active_person(verified).password != verified.password:
            # Another one was set since it was verified.
            return None
        if isinstance(form, ChangePasswordForm):
            password = form.cleaned_data["password"]
            change_password(verified, password, actor=actor, how="by its owner")
            done = "Your password is changed. You are signed out everywhere else."
        else:
            email = form.cleaned_data["email"]
            change_email(verified, email, actor=actor)
            done = (
                f"Your e-mail address is now {email}."
                if email
                else "You no longer have an e-mail address."
            )
    # Verifying may have rehashed the password, too: this session continues.
    update_session_auth_hash(request, verified)
    return done


@require_http_methods(["GET", "HEAD", "POST"])
def forgotten_password(request: HttpRequest) -> HttpResponse:
    """Mail a link for a new password, or say whom to ask if there is no mail.

    The answer is the same for every address, and takes as long: the worker looks whose it is.
    """
    if not settings.LOCAL_PASSWORDS:
        raise Http404
    form = ForgottenPasswordForm(request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"form": form, "has_mail": settings.HAS_MAIL}
    if not settings.HAS_MAIL:
        return render(request, "workspaces/forgotten_password.html", context)
    if form.is_valid():
        origin = read_origin(request)
        try:
            count_call(PASSWORD_LINKS_PER_ADDRESS, counted_address(origin.address))
            _request_links(form.cleaned_data["email"], origin)
        except TooManyCallsError as refusal:
            form.add_error("email", str(refusal))
            return render_form(request, "workspaces/forgotten_password.html", context, refusal)
        messages.success(
            request,
            "If this is the address of an account, a mail is on its way. Its link is good for one "
            "day.",
        )
        return redirect("login")
    return render_form(request, "workspaces/forgotten_password.html", context)


def _request_links(email: str, origin: Origin) -> None:
    """Have links mailed, unless the address got some a short time ago; no one is told which.

    The worker mails them, so that the answer takes as long for an address that no one has.
    """
    try:
        count_call(PASSWORD_LINKS_PER_EMAIL, email.lower())
    except TooManyCallsError:
        return
    PasswordLinkRequest.objects.create(
        email=email, address=origin.address, user_agent=origin.user_agent
    )


class SignOutView(LogoutView):
    """Signs out here. At the identity provider, if they came from there, they stay signed in."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """End the session, and what it was begun by."""
        close_sign_on(request.session)
        return super().post(request, *args, **kwargs)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def sign_in_link(request: HttpRequest, uidb64: str, token: str) -> HttpResponse:
    """Show whom an operator's link signs in, which uses nothing up; by POST, sign them in."""
    user = _find_by_uid(uidb64)
    if user is None or not SIGN_IN_TOKENS.check_token(user, token):
        raise Http404
    if request.method != "POST":
        return render(request, "workspaces/sign_in_link.html", {"account": user})
    try:
        with transaction.atomic():
            open_operators_session(request, use_sign_in_token(user, token))
    except InvalidLinkError as error:
        raise Http404 from error
    return redirect("home")


def _find_by_uid(uidb64: str) -> User | None:
    try:
        user_id = urlsafe_base64_decode(uidb64).decode()
    except (ValueError, UnicodeDecodeError):
        return None
    return User.objects.filter(pk=read_number(user_id)).first()


@method_decorator(require_http_methods(["GET", "HEAD", "POST"]), name="dispatch")
class PasswordLinkView(PasswordResetConfirmView):
    """Sets a new password for the holder of the link.

    Django moves the token from the address into the session first, so that no referrer tells it.
    """

    token_generator = LINK_TOKENS
    form_class = NewPasswordForm  # type: ignore[assignment]
    template_name = "workspaces/password_link.html"

    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """There is nothing here where passwords are switched off."""
        if not settings.LOCAL_PASSWORDS:
            raise Http404
        return super().dispatch(*args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        """Use the link up, unless someone else has."""
        token = self.request.session.pop(INTERNAL_RESET_SESSION_TOKEN, "")
        user = form.user
        actor = Actor(user.username, ActorKind.PERSON, read_origin(self.request))
        try:
            set_password_by_link(user, token, form.cleaned_data["password"], actor=actor)
        except InvalidLinkError:
            self.validlink = False
            return self.render_to_response(self.get_context_data())
        messages.success(self.request, "Your password is changed. Sign in with the new one.")
        return redirect("login")

    def form_invalid(self, form: Any) -> HttpResponse:
        """Say what is wrong with the new password."""
        return self.render_to_response(self.get_context_data(form=form), status=422)

    def render_to_response(self, context: dict[str, Any], **options: Any) -> HttpResponse:
        """Answer 404 where the link is not valid."""
        options.setdefault("status", 200 if self.validlink else 404)
        return super().render_to_response({**context, "account": self.user}, **options)
