"""Say in one line what is wrong with a command's arguments."""

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError


def explain(error: ValidationError) -> str:
    """Return every message of `error`, each with the field that it is about."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        message if field == NON_FIELD_ERRORS else f"{field}: {message}"
        for field, messages in error.message_dict.items()
        for message in messages
    )
