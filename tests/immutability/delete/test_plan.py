"""Which tags a delete by digest concerns."""

from typing import Any

import pytest
from django.db import connection

from containers.reference import Digest
from immutability.delete.plan import DeleteQuestion, find_concerned
from tests.conftest import is_postgresql
from tests.immutability.core import Core
from tests.immutability.registry_double import digest_of, image

pytestmark = pytest.mark.django_db


def test_concerned_tags_are_found_by_indexes(core: Core) -> None:
    plans = []
    explain_words = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"

    def explain(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("EXPLAIN"):
            return execute(sql, params, *rest)
        with connection.cursor() as cursor:
            cursor.execute(f"{explain_words} {sql}", params)
            plans.append(" ".join(str(row) for row in cursor.fetchall()))
        return execute(sql, params, *rest)

    if is_postgresql():
        with connection.cursor() as cursor:
            # It would read a table as small as this one whole.
            cursor.execute("SET LOCAL enable_seqscan = off")
    digest = Digest(digest_of(image("one")))
    question = DeleteQuestion(core.workspace, core.repository, digest)
    with connection.execute_wrapper(explain):
        find_concerned(question, digest, frozenset())
    indexes = ("tag_digest", "tag_write", "tag_stray", "locked_tag_digest")
    assert [name for name in indexes if name not in plans[0]] == []
