"""Renders what the API's views answer, as json_response.py does for everything else.

By itself, since the gate does without the REST framework.
"""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import JSONRenderer

from workspaces.json_response import encode_json


class UTF8JSONRenderer(JSONRenderer):
    """Renders JSON as plain UTF-8."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the body; nothing if there is none."""
        return b"" if data is None else encode_json(data, self.encoder_class)
