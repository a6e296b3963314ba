"""JSON answers as plain UTF-8: some clients print them raw, and show every escape."""

import json
from collections.abc import Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse

CONTENT_TYPE = "application/json"


def encode_json(value: Any, encoder: type[json.JSONEncoder] = DjangoJSONEncoder) -> bytes:
    """Return `value` as JSON in UTF-8.

    A lone surrogate is no character, so UTF-8 cannot hold it: it stays the escape that JSON has for
    it, `\\ud800`. Raises ValueError for what is no JSON: NaN and infinities.
    """
    text = json.dumps(
        value, cls=encoder, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.encode("utf-8", "backslashreplace")


class UTF8JsonResponse(HttpResponse):
    """An answer in JSON outside of the API's views."""

    def __init__(
        self,
        value: Any,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str = CONTENT_TYPE,
    ) -> None:
        super().__init__(
            encode_json(value),
            status=status,
            headers={"Content-Type": content_type, **(headers or {})},
        )
