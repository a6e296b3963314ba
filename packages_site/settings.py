"""Django's settings. What an operator may set is read in environment.py."""

import os
from pathlib import Path

from csp.constants import NONE, SELF
from psycopg import IsolationLevel

from immutability.policy.protection import DeleteOutcome, Outcome
from packages_site.addresses import BadSettingError, parse_database_url
from packages_site.database import PatientConnection, make_sqlite_uri
from packages_site.environment import read_environment
from packages_site.key_files import read_secret_key
from packages_site.mail_server import parse_email_url
from packages_site.version import VERSION
from workspaces.access import ActorKind

try:
    ENVIRONMENT = read_environment()
    SECRET_KEY = ENVIRONMENT.secret_key or read_secret_key(ENVIRONMENT.data_dir)
except BadSettingError as error:
    raise SystemExit(f"taglock: bad setting: {error}") from error

# Templates, static files and guides: in a wheel they are inside of the package (pyproject.toml).
_packed_files = Path(__file__).resolve().parent / "files"
IS_INSTALLED = _packed_files.is_dir()
BASE_DIR = _packed_files if IS_INSTALLED else _packed_files.parent.parent
DATA_DIR = ENVIRONMENT.data_dir
PUBLIC_URL = ENVIRONMENT.public_url
REGISTRY_URL = ENVIRONMENT.registry_url
REGISTRY_ACCOUNTS = ENVIRONMENT.registry_accounts
REGISTRY_CA_FILE = ENVIRONMENT.registry_ca_file
# Its name keeps it off Django's debug pages.
REGISTRY_LOGIN_SECRET = ENVIRONMENT.registry_login
# Passwords of registries that have a row are among them: containers/registry_secrets.py.
REGISTRY_VARIABLES_SECRET: dict[str, str] = {
    name: value for name, value in os.environ.items() if name.startswith("REGISTRY_")
}
REGISTRY_WORKSPACE = ENVIRONMENT.registry_workspace
UNASSIGNED_REPOSITORIES = ENVIRONMENT.unassigned_repositories
BEHIND_EDGE = ENVIRONMENT.behind_edge
CHECKS_PER_MINUTE = ENVIRONMENT.checks_per_minute
TOKENS_PER_MINUTE = ENVIRONMENT.tokens_per_minute
LOG_KEY_FILE = ENVIRONMENT.log_key_file
CHECKPOINT_DIR = ENVIRONMENT.checkpoint_dir
ORIGIN_RETENTION_DAYS = ENVIRONMENT.origin_retention_days
PUSH_RETENTION_DAYS = ENVIRONMENT.push_retention_days
METRICS_TOKEN = ENVIRONMENT.metrics_token
HAS_TRACES = bool(ENVIRONMENT.otel_exporter_otlp_endpoint)
LOCAL_PASSWORDS = ENVIRONMENT.local_passwords
# Its name keeps it off Django's debug pages.
PROVIDER_SECRET = ENVIRONMENT.provider
IS_HTTPS = PUBLIC_URL.startswith("https://")

DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = ENVIRONMENT.allowed_hosts

INSTALLED_APPS = [
    "packages_site",
    "immutability",
    "containers",
    "workspaces",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "drf_spectacular",
    "rest_framework",
]

MIDDLEWARE = [
    "packages_site.health.answer_probes",
    "packages_site.request_log.follow_requests",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "packages_site.caching.keep_answers_private",
    "packages_site.short_way.answer_checks",
    "csp.middleware.CSPMiddleware",
    "packages_site.request_limits.refuse_oversized_requests",
    "packages_site.sessions.drop_odd_session_cookies",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "workspaces.single_sign_on.sessions.PeopleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "packages_site.urls"
# How traces name processes of these settings.
PART = "site"
WSGI_APPLICATION = "packages_site.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": [
                "django.templatetags.static",
                "workspaces.templatetags.taglock",
            ],
        },
    }
]

_database = parse_database_url(ENVIRONMENT.database_url)
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # A transaction that reads first and writes later fails at once in SQLite unless it took the
    # write lock at its start. FULL: a committed lock survives a loss of power. Recursive: INSERT OR
    # REPLACE deletes rows, and is to meet the triggers of the lock log, too.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
        "PRAGMA recursive_triggers=ON;",
    }
    _database["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
    # Opening a database never makes one: `migrate` does (data_dir.py).
    _database["NAME"] = make_sqlite_uri(_database["NAME"])
else:
    # The pool lives in each process. DISABLE_SERVER_SIDE_CURSORS lets a pooler in transaction
    # mode come in between. Every decision is made for READ COMMITTED, whatever the server's
    # default is. Options of the address, such as sslmode, are kept. The hot path's statements are
    # prepared: planning one again takes longer than running it.
    _database["OPTIONS"] = {
        "connect_timeout": 5,
        **_database["OPTIONS"],
        "prepare_threshold": 3 if ENVIRONMENT.database_prepared_statements else None,
        "isolation_level": IsolationLevel.READ_COMMITTED,
        "pool": {
            "min_size": 1,
            "max_size": ENVIRONMENT.database_pool_size,
            "timeout": 5,
            # How soon it tries again, after an outage of any length.
            "reconnect_timeout": 2,
            "connection_class": PatientConnection,
        },
    }
    _database["DISABLE_SERVER_SIDE_CURSORS"] = True
    # Django has the pool check each connection that it hands out: a restart of PostgreSQL breaks
    # all that wait in it.
    _database["CONN_HEALTH_CHECKS"] = True
DATABASES = {"default": _database}
DATABASE_PATIENCE_SECONDS = ENVIRONMENT.database_patience_seconds
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "workspaces.User"
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/accounts/login/"
PASSWORD_HASHERS = ["workspaces.hashing.LimitedConcurrencyArgon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]

# Of a password link. After that, ask for another.
PASSWORD_RESET_TIMEOUT = 24 * 60 * 60

HAS_MAIL = bool(ENVIRONMENT.email_url)
if HAS_MAIL:
    _mail_server = parse_email_url(ENVIRONMENT.email_url)
    EMAIL_HOST = _mail_server.host
    EMAIL_PORT = _mail_server.port
    EMAIL_HOST_USER = _mail_server.user
    EMAIL_HOST_PASSWORD = _mail_server.password
    EMAIL_USE_TLS = _mail_server.use_tls
    EMAIL_USE_SSL = _mail_server.use_ssl
    # An admin who invites someone waits for the mail server.
    EMAIL_TIMEOUT = 5
    DEFAULT_FROM_EMAIL = ENVIRONMENT.email_from

SESSION_COOKIE_NAME = "taglock_session"
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_NAME = "taglock_csrf"
CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "workspaces.pages.errors.csrf_failure"
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS and ENVIRONMENT.hsts in ("subdomains", "preload")
SECURE_HSTS_PRELOAD = IS_HTTPS and ENVIRONMENT.hsts == "preload"
# They ask for subdomains and preloading. Both bind hosts that are not Taglock's, so they are the
# operator's choice: the setting HSTS.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Of any body but a manifest's. The largest good one is of the settings page, with every rule and
# sample tag as long as it may be, and each character percent-encoded.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True

TAGLOCK_VERSION = VERSION

STATIC_URL = "/static/"
STATIC_ROOT = ENVIRONMENT.static_dir
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "workspaces.authentication.AccessTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["workspaces.problems.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["workspaces.json_renderer.UTF8JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "workspaces.problems.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "workspaces.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Taglock API",
    "DESCRIPTION": "Ask before a push or a delete, manage a workspace's protection, read its lock "
    "log. Errors are problem details (RFC 9457) with a stable `code`.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    # The choices are in the schema already.
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "ActorKindEnum": [(each.value, each.value) for each in ActorKind],
        "PushOutcomeEnum": [(each.value, each.value) for each in Outcome],
        "DeleteOutcomeEnum": [(each.value, each.value) for each in DeleteOutcome],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "workspaces.schema.add_problems",
        "packages_site.api_examples.describe_operations",
    ],
}

CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "taglock"
# The broker may be away for hours, from the start on: worker and scheduler try until it is back.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# In memory: a kill may break the file of Celery's default scheduler, which then never starts again.
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
if ENVIRONMENT.redis_url:
    CELERY_BROKER_URL = ENVIRONMENT.redis_url
    # A Redis that accepts and then hangs must not hold anyone for longer than this. A worker that
    # waits for messages on a connection that is dead notices within about ten seconds.
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = {
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "health_check_interval": 5,
    }
else:
    # No broker: the scheduler runs each task itself, in its own process. Nothing else starts tasks.
    CELERY_BROKER_URL = "memory://localhost/"
    CELERY_TASK_ALWAYS_EAGER = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "packages_site.logs.LineFormatter"},
        "json": {"()": "packages_site.logs.JSONFormatter"},
    },
    "filters": {
        "secrets": {"()": "packages_site.logs.SecretFilter"},
        "unlogged": {"()": "packages_site.logs.UnloggedFilter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": ENVIRONMENT.log_format,
            "filters": ["secrets", "unlogged"],
        }
    },
    "root": {"handlers": ["stderr"], "level": ENVIRONMENT.log_level},
    # A refusal is an answer; only what went wrong is worth a line.
    "loggers": {"django.request": {"level": "ERROR"}},
}
