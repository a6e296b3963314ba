"""Read the query of an address: what it does not know, or cannot read, is refused and named.

A misspelled filter must not find everything.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import QueryDict
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from workspaces.problems import StrictSerializer

# No value that means something is longer.
MAX_PARAMETER_LENGTH = 1024
_MAX_SHOWN_NAME = 64


class NoParameters(StrictSerializer):
    """The query of an address that takes none."""


def read_query(
    request: Request, serializer_class: type[StrictSerializer] = NoParameters
) -> dict[str, Any]:
    """Return the validated parameters of a call of the API. Raises ValidationError."""
    serializer = serializer_class(data=request.query_params.dict())
    require_known_parameters(request, serializer.fields)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


def require_known_parameters(request: Request, allowed: Collection[str]) -> None:
    """Raise ValidationError if a call of the API has a parameter that cannot be read."""
    if problems := find_odd_parameters(request.query_params, allowed):
        raise ValidationError(problems)


def find_odd_parameters(query: QueryDict, allowed: Collection[str]) -> dict[str, list[str]]:
    """Return what is wrong with each parameter that is unknown, repeated or too long."""
    problems = {}
    for name, values in query.lists():
        if name not in allowed:
            problems[name[:_MAX_SHOWN_NAME]] = [_describe_unknown(allowed)]
        elif len(values) > 1:
            problems[name] = ["Must be given once."]
        elif len(values[0]) > MAX_PARAMETER_LENGTH:
            problems[name] = [f"Must have at most {MAX_PARAMETER_LENGTH} characters."]
    return problems


def _describe_unknown(allowed: Collection[str]) -> str:
    if not allowed:
        return "Unknown parameter. This address takes none."
    return f"Unknown parameter. Allowed parameters: {', '.join(allowed)}."


class IdField(forms.IntegerField):
    """The id that a page of a list begins below; 0 where it is left out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, min_value=0, widget=forms.HiddenInput, **options)

    def clean(self, value: Any) -> int:
        """Return the id."""
        return super().clean(value) or 0


class FilterForm(forms.Form):
    """The query of a page or of a call: a form that refuses what it has no field for."""

    def __init__(self, data: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(data, **options)
        query = data if isinstance(data, QueryDict) else QueryDict()
        self.odd_parameters = find_odd_parameters(query, self.fields)

    def full_clean(self) -> None:
        """Validate; each odd parameter is an error of the form as a whole."""
        super().full_clean()
        for name, messages in self.odd_parameters.items():
            self.add_error(None, f"{name}: {messages[0]}")

    def list_problems(self) -> list[str]:
        """Return what is wrong, as sentences for a page that has no fields to show them at."""
        return [
            message if name == NON_FIELD_ERRORS else f"{name}: {message}"
            for name, messages in self.errors.items()
            for message in map(str, messages)
        ]


_Form = TypeVar("_Form", bound=FilterForm)


def read_form(form: _Form) -> _Form:
    """Return a valid form, for a call of the API. Raises ValidationError."""
    if form.is_valid():
        return form
    raise ValidationError(
        form.odd_parameters
        or {name: [str(each) for each in errors] for name, errors in form.errors.items()}
    )
