"""The WSGI entry point, for the site's application server."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from packages_site import leaving
from packages_site.data_dir import require_secret_key
from packages_site.database import be_patient
from packages_site.restoring import require_usable_database

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")

require_secret_key()
require_usable_database()
leaving.listen()
application = get_wsgi_application()
be_patient(settings.DATABASE_PATIENCE_SECONDS)
if settings.HAS_TRACES:
    # Not imported where it is not needed: it is large.
    import_module("packages_site.otlp").start_tracing(settings.PART)
