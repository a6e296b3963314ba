"""Production's settings with the views of floors.py in place of the site's."""

from packages_site.settings import *  # noqa: F403

ROOT_URLCONF = "bench.floors"
