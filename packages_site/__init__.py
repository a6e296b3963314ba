"""The site that joins the apps: settings, URLs, Celery, and how it all is started."""
