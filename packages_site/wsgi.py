"""The WSGI entry point, for the site's application server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")

application = get_wsgi_application()
