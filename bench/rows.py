"""How many bytes a row takes: `python -m bench.rows --locks 200000`. See README.md."""

import importlib
import sys

from bench.command import Place, make_parser, run

# What a push leaves besides what fill.py has made of it, with values as long as real ones.
_STATEMENTS = (
    "INSERT INTO containers_push (workspace_id, repository, tag, digest, actor, actor_kind) "
    "SELECT workspace_id, repository, name, digest, 'acme+build', 'token' FROM containers_tag",
    "INSERT INTO containers_manifestreference (workspace_id, repository, parent, child) "
    "SELECT workspace_id, repository, digest, 'sha256:' || encode(sha256(digest::bytea), 'hex') "
    "FROM containers_manifest",
    "INSERT INTO workspaces_lockevent (ref, workspace, kind, repository, tag, digest, "
    "other_digest, actor, actor_kind, rule_name, rule_pattern, settings_version, reason, details, "
    "origin_hash) SELECT substr(upper(encode(sha256(id::text::bytea), 'hex')), 1, 12), 'acme', "
    "'tag.locked', repository, tag, digest, '', 'acme+build', 'token', 'Release versions', "
    r"'^v\d+\.\d+\.\d+$', 3, '', NULL, encode(sha256(tag::bytea), 'hex') "
    "FROM immutability_lockedtag",
    "INSERT INTO workspaces_eventorigin (event_id, salt, address, user_agent) "
    "SELECT id, substr(origin_hash, 1, 32), '192.0.2.14', "
    "'docker/27.3.1 go/go1.22.7 git-commit/41ca978' FROM workspaces_lockevent",
    "INSERT INTO workspaces_eventseal (workspace, sequence, event_id, hash, sealed_at) "
    "SELECT workspace, id, id, origin_hash, now() FROM workspaces_lockevent",
)
_SIZES = (
    "SELECT relname, n_live_tup, pg_relation_size(relid), pg_indexes_size(relid) "
    "FROM pg_stat_user_tables WHERE n_live_tup >= %s ORDER BY relname"
)


def main() -> int:
    """Measure as the command line says."""
    options = make_parser("rows", __doc__, locks=200_000).parse_args()
    return run(options, lambda place: _measure(place, options.locks))


def fill_rest() -> None:
    """Give each lock, in an otherwise empty database, a push and an event, and what they have."""
    with importlib.import_module("django.db").connection.cursor() as cursor:
        for statement in _STATEMENTS:
            cursor.execute(statement)


def _measure(_: Place, locks: int) -> None:
    importlib.import_module("django.core.management").call_command("migrate", verbosity=0)
    importlib.import_module("workspaces.models").Workspace.objects.create(slug="acme", name="Acme")
    importlib.import_module("bench.fill").fill_with_locks("acme", locks)
    fill_rest()
    with importlib.import_module("django.db").connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute(_SIZES, [locks // 2])
        found = cursor.fetchall()
    print("| table | row | its indexes | together |\n|---|---|---|---|")
    for table, rows, heap, indexes in found:
        row, index = round(heap / rows), round(indexes / rows)
        print(f"| `{table}` | {row} | {index} | {row + index} |")


if __name__ == "__main__":
    sys.exit(main())
