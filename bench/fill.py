"""A workspace that has been in use for long: with many locks, and what belongs to them."""

from django.db import connection

TAGS_PER_REPOSITORY = 500
_AT_ONCE = 1_000_000
_REPOSITORY = f"%(slug)s || '/r' || (n / {TAGS_PER_REPOSITORY})"
# No two tags have the same name: settings are saved by counting distinct names.
_TAG = "'v1.' || n || '.0'"
_DIGEST = "'sha256:' || encode(sha256(n::text::bytea), 'hex')"
_NUMBERS = "generate_series(%(first)s::bigint, %(last)s::bigint) AS n"
_FILL = f"""
INSERT INTO containers_repository (workspace_id, name)
SELECT %(workspace)s, {_REPOSITORY} FROM {_NUMBERS} WHERE n %% {TAGS_PER_REPOSITORY} = 0;

INSERT INTO containers_manifest (workspace_id, repository, digest, media_type, size, subject,
    is_there, is_read, revision)
SELECT %(workspace)s, {_REPOSITORY}, {_DIGEST}, 'application/vnd.oci.image.manifest.v1+json', 500,
    '', true, true, 0
FROM {_NUMBERS};

WITH record AS (
    INSERT INTO containers_tag (workspace_id, repository, name, digest, shown_at, revision,
        changed_at, pushed_at, write_kind, write_digest, write_is_external, stray_digest)
    SELECT %(workspace)s, {_REPOSITORY}, {_TAG}, {_DIGEST}, now(), 2, now(), now(), '', '', false,
        ''
    FROM {_NUMBERS}
    RETURNING id, repository, name, digest
)
INSERT INTO immutability_lockedtag (record_id, workspace_id, repository, tag, state, digest,
    media_type, rule_name, rule_pattern, settings_version, pushed_by, pushed_by_kind, locked_at,
    deleted_by, deleted_by_kind, delete_reason)
SELECT id, %(workspace)s, repository, name,
    CASE WHEN id %% 100 = 0 THEN 'reserved' WHEN id %% 100 = 1 THEN 'released' ELSE 'locked' END,
    digest, 'application/vnd.oci.image.manifest.v1+json', 'Versions', '^v', 1,
    'person' || (id %% 1000), 'person', now() - interval '1 second' * (id %% 31536000), '', '', ''
FROM record;
"""  # noqa: S608  (constants)


# A repository with as many tags as the workspace has locks. Half of them were never pushed here.
_BIG_DIGEST = "'sha256:' || encode(sha256(('big' || n)::bytea), 'hex')"
_FILL_REPOSITORY = f"""
INSERT INTO containers_tag (workspace_id, repository, name, digest, shown_at, revision, changed_at,
    pushed_at, write_kind, write_digest, write_is_external, stray_digest)
SELECT %(workspace)s, %(slug)s || '/big', 'build-' || n, {_BIG_DIGEST}, now(), 2, now(),
    CASE WHEN n %% 2 = 0 THEN now() - interval '1 second' * n END, '', '', false, ''
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n;

INSERT INTO containers_push (workspace_id, repository, tag, digest, actor, actor_kind)
SELECT %(workspace)s, %(slug)s || '/big', 'build-' || n, {_BIG_DIGEST}, 'ci', 'token'
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n WHERE n %% 2 = 0;
"""  # noqa: S608  (constants)


def fill_with_locks(slug: str, count: int) -> None:
    """Give a workspace so many locks, each with its tag's record and its manifest."""
    _fill(slug, count, _FILL)


def fill_repository(slug: str, count: int) -> None:
    """Give a workspace a repository, `big`, with so many tags that have no lock."""
    _fill(slug, count, _FILL_REPOSITORY)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO containers_repository (workspace_id, name) "
            "SELECT id, slug || '/big' FROM workspaces_workspace WHERE slug = %s",
            (slug,),
        )


def _fill(slug: str, count: int, statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM workspaces_workspace WHERE slug = %s", (slug,))
        (workspace,) = cursor.fetchone()
        # No trigger looks at each row: what is written here refers to nothing that is not there.
        cursor.execute("SET session_replication_role = replica")
        for first in range(0, count, _AT_ONCE):
            last = min(first + _AT_ONCE, count) - 1
            values: dict[str, str | int] = {
                "slug": slug,
                "workspace": workspace,
                "first": first,
                "last": last,
            }
            for statement in statements.split(";\n\n"):
                cursor.execute(statement, values)
        cursor.execute("SET session_replication_role = DEFAULT")
        cursor.execute("VACUUM ANALYZE")
        # What was filled in is not to be written to the disk while something is measured.
        cursor.execute("CHECKPOINT")
