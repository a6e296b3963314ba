"""The sign-in page."""

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse

from workspaces.caller_access import read_origin
from workspaces.sign_in import verify_password
from workspaces.throttles import TooManyCallsError


class SignInForm(AuthenticationForm):
    """A user name and a password. `refusal` is set if there were too many attempts."""

    request: HttpRequest
    refusal: TooManyCallsError | None = None

    def clean(self) -> dict[str, Any]:
        """Verify the password. Raises ValidationError if it is not right, or not looked at."""
        username = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        if username is None or not password:
            return self.cleaned_data
        try:
            user = verify_password(username, password, read_origin(self.request))
        except TooManyCallsError as error:
            self.refusal = error
            raise ValidationError(str(error), code="too_many_calls") from error
        if user is None:
            raise self.get_invalid_login_error()
        self.user_cache = user
        return self.cleaned_data


class SignInView(LoginView):
    """Sign in, and go on to the page that asked for it."""

    template_name = "workspaces/login.html"
    redirect_authenticated_user = True
    authentication_form = SignInForm

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign in, where there are passwords."""
        if not settings.LOCAL_PASSWORDS:
            raise PermissionDenied("Passwords are switched off on this site.")
        return super().post(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add how people sign in here."""
        ways = {"provider": settings.PROVIDER_SECRET, "has_passwords": settings.LOCAL_PASSWORDS}
        return super().get_context_data(**kwargs) | ways

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Show the form again: with status 200, or 429 if there were too many attempts."""
        response = super().form_invalid(form)
        if isinstance(form, SignInForm) and form.refusal:
            response.status_code = 429
            response["Retry-After"] = str(form.refusal.retry_after_seconds)
        return response
