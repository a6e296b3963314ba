"""The settings of production, whose pages need no collected files."""

from packages_site.settings import *  # noqa: F403
from packages_site.settings import STORAGES

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
