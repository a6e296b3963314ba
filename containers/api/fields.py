"""Fields of the API that hold a repository, a tag or a digest."""

from collections.abc import Callable
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.serializers import CharField, empty

from containers.names import (
    MAX_DIGEST_LENGTH,
    MAX_REPOSITORY_LENGTH,
    MAX_TAG_LENGTH,
    InvalidReferenceError,
    parse_digest,
    parse_repository,
    parse_tag,
)
from workspaces.problems import NO_TEXT


class ReferenceField(CharField):
    """A text that `parse` turns into a repository, tag or digest; its length is checked first."""

    def __init__(self, parse: Callable[[str], object], **options: Any) -> None:
        super().__init__(trim_whitespace=False, max_length=_LENGTHS[parse], **options)
        self.parse = parse

    def run_validation(self, data: Any = empty) -> Any:
        """Return the parsed value. Raises ValidationError with the OCI error code."""
        if data is not empty and data is not None and not isinstance(data, str):
            raise ValidationError(NO_TEXT)
        if not isinstance(data, str):
            return super().run_validation(data)
        if data == "" and self.allow_blank:
            return None
        try:
            return self.parse(data)
        except InvalidReferenceError as error:
            raise ValidationError(error.message, code=error.code) from error


_LENGTHS: dict[Callable[[str], object], int] = {
    parse_repository: MAX_REPOSITORY_LENGTH,
    parse_tag: MAX_TAG_LENGTH,
    parse_digest: MAX_DIGEST_LENGTH,
}
