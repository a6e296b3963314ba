"""The site that joins the apps: settings, URLs, Celery, and how it all is started."""

from packages_site.celery import app as celery_app

__all__ = ["celery_app"]
