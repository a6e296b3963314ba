"""What people fill in about themselves: a new account, a new password, an e-mail address."""

from typing import Any

from django import forms
from django.contrib.auth.forms import UsernameField
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from workspaces.actions.invitations import NAME_TAKEN
from workspaces.models import MAX_EMAIL_LENGTH, MAX_USERNAME_LENGTH, User
from workspaces.sign_in import MAX_PASSWORD_LENGTH


class PasswordField(forms.CharField):
    """A password as it was typed, spaces too."""

    def __init__(self, label: str, autocomplete: str, **options: Any) -> None:
        super().__init__(
            label=label,
            strip=False,
            max_length=MAX_PASSWORD_LENGTH,
            widget=forms.PasswordInput({"autocomplete": autocomplete}),
            **options,
        )


def make_email_field() -> forms.EmailField:
    """Return the field for someone's own e-mail address, which no one has to give."""
    return forms.EmailField(
        label="E-mail address",
        required=False,
        max_length=MAX_EMAIL_LENGTH,
        widget=forms.EmailInput({"autocomplete": "email"}),
        help_text="A link for a new password goes there if you forget yours.",
    )


def make_current_password_field() -> PasswordField:
    """Return the field for the password that someone has."""
    return PasswordField(
        "Current password",
        "current-password",
        error_messages={"required": "Enter your current password."},
    )


class NewPasswordForm(forms.Form):
    """A new password, typed twice, for `user`."""

    password = PasswordField(
        "New password",
        "new-password",
        help_text="At least 8 characters. Not a common password, and nothing like your name.",
        error_messages={"required": "Choose a password."},
    )
    repeated = PasswordField(
        "New password again",
        "new-password",
        error_messages={"required": "Type the same password again."},
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> None:
        """Refuse what is weak, and what was not typed alike both times."""
        password = self.cleaned_data.get("password")
        repeated = self.cleaned_data.get("repeated")
        if password and repeated and password != repeated:
            self.add_error("repeated", "The passwords do not match. Enter both again.")
        if password:
            try:
                validate_password(password, self.user)
            except ValidationError as error:
                # One error a field: the summary and the field say the same words.
                self.add_error("password", " ".join(error.messages))


class ChangePasswordForm(NewPasswordForm):
    """A new password, for someone who knows the current one. The view checks that they do."""

    current_password = make_current_password_field()
    field_order = ["current_password", "password", "repeated"]


class ChangeEmailForm(forms.Form):
    """Another e-mail address, for someone who knows the password. The view checks that they do."""

    email = make_email_field()
    current_password = make_current_password_field()


class NewAccountForm(NewPasswordForm):
    """A new account: a name, a password, and perhaps an e-mail address.

    With a `refusal`, which is set before anything is looked at, the form says only that about the
    name, and not whether it is taken.
    """

    refusal = ""

    username = UsernameField(
        label="User name",
        max_length=MAX_USERNAME_LENGTH,
        validators=User._meta.get_field("username").validators,
        error_messages={"required": "Choose a user name."},
        help_text="Lower-case letters and digits; dots, underscores, hyphens and @ after the "
        "first. The lock log names you by it, and it never changes.",
    )
    email = make_email_field()
    field_order = ["username", "email", "password", "repeated"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(User(), *args, **kwargs)
        self.fields["password"].label = "Password"
        self.fields["repeated"].label = "Password again"

    def clean_username(self) -> str:
        """Refuse a name that someone has."""
        if self.refusal:
            raise ValidationError(self.refusal)
        username: str = self.cleaned_data["username"]
        if User.objects.filter(username=username).exists():
            raise ValidationError(NAME_TAKEN)
        return username

    def clean(self) -> None:
        """Refuse a password that is like the name or the address."""
        self.user.username = self.cleaned_data.get("username", "")
        self.user.email = self.cleaned_data.get("email", "")
        super().clean()

    def make_user(self) -> User:
        """Return the account, which is not saved yet."""
        self.user.set_password(self.cleaned_data["password"])
        return self.user


class ForgottenPasswordForm(forms.Form):
    """Where a link is to be mailed."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=MAX_EMAIL_LENGTH,
        widget=forms.EmailInput({"autocomplete": "email"}),
        help_text="The address in your account.",
        error_messages={"required": "Enter your e-mail address."},
    )
