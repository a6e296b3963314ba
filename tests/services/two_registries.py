"""Site and gate where a name has the addresses of two registries, as a DNS would say it.

They notice a changed key of tokens at once, and not within a minute, and show pages without
collected files. It is copied to a folder of its own, so that code of another version can be run
with it, too.
"""

import os
import socket
from typing import Any

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")
settings.STORAGES["staticfiles"] = {
    "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
}

from packages_site.wsgi import application  # noqa: E402, I001  (it sets Django up)
from containers.tokens import stored_keys  # noqa: E402

__all__ = ["application"]

NAME = "registries.test"
ADDRESSES = ("127.0.0.1", "127.0.0.2")

stored_keys.KNOWN_SECONDS = stored_keys.MAX_AGE_SECONDS = 0
_ask_system = socket.getaddrinfo


def _find_addresses(host: Any, *arguments: Any, **options: Any) -> Any:
    hosts = ADDRESSES if host == NAME else (host,)
    return [each for host in hosts for each in _ask_system(host, *arguments, **options)]


socket.getaddrinfo = _find_addresses
