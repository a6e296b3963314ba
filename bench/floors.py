"""The least that a check can cost: a view that asks the database once, or asks and writes once."""

import json

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from workspaces.json_response import UTF8JsonResponse

MAKE_TABLE = """
CREATE TABLE bench_written (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository text NOT NULL,
    tag text NOT NULL,
    digest text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)"""
# The first workspace of an empty database.
_WORKSPACE = 1
# By the unique index that finds a tag's lock.
_READ = """
SELECT l.state, l.digest FROM immutability_lockedtag l
WHERE l.workspace_id = %s AND l.repository = %s AND l.tag = %s"""
_WRITE = "INSERT INTO bench_written (repository, tag, digest) VALUES (%s, %s, %s)"


@csrf_exempt
def read(request: HttpRequest) -> HttpResponse:
    """Answer with a tag's lock."""
    return UTF8JsonResponse({"allowed": True, "lock": _read_lock(json.loads(request.body))})


@csrf_exempt
def write(request: HttpRequest) -> HttpResponse:
    """Answer with a tag's lock, and write a row in the transaction in which it was read."""
    asked = json.loads(request.body)
    with transaction.atomic():
        lock = _read_lock(asked)
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, (asked["repository"], asked["tag"], asked["digest"]))
    return UTF8JsonResponse({"allowed": True, "lock": lock})


def _read_lock(asked: dict[str, str]) -> object:
    with connection.cursor() as cursor:
        cursor.execute(_READ, (_WORKSPACE, asked["repository"], asked["tag"]))
        return cursor.fetchone()


urlpatterns = [path("read", read), path("write", write)]
