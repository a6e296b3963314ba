"""Django's settings for processes that only run the gate: what registry clients need, no more.

The gate reads no cookie, shows no page and takes no form. Its processes name this module in
`DJANGO_SETTINGS_MODULE`; with `packages_site.settings` it works the same, but does more work for
each push.
"""

from packages_site.settings import *  # noqa: F403  (Django's own way to build settings on others)

MIDDLEWARE = [
    "packages_site.health.answer_probes",
    "packages_site.request_log.follow_requests",
    "django.middleware.security.SecurityMiddleware",
    "packages_site.caching.keep_answers_private",
    "packages_site.request_limits.refuse_oversized_writes",
]
ROOT_URLCONF = "packages_site.gate_urls"
PART = "gate"
