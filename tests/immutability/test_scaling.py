"""What docs/scaling.md lists of tables, statements and features is what there is."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection, models
from django.test.utils import CaptureQueriesContext

from immutability.policy.protection import Protection
from tests.immutability.checks import Checks
from tests.immutability.core import DANA, Core, named
from tests.immutability.registry_double import image, index
from workspaces.access import Origin

ROOT = Path(__file__).parents[2]
ONE, TWO = named("one", image("one")), named("two", image("two"))
OURS = ("workspaces", "containers", "immutability")
# How a statement names a table that it reads or writes.
_NAMING = re.compile(r'\b(?:FROM|JOIN|UPDATE|INTO)\s+"?([a-z_]+)"?')


@lru_cache(maxsize=1)
def _read_tables() -> dict[str, tuple[str, frozenset[str]]]:
    """Return of each table its column, or where it goes, and what is in the way."""
    rows = _rows_below("## Tables")
    return {
        cells[0].strip("`"): (
            cells[1].strip("`"),
            frozenset(filter(None, (each.strip(" `") for each in cells[2].split(",")))),
        )
        for cells in rows
    }


def _rows_below(heading: str) -> list[list[str]]:
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    part = text.split(f"\n{heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _columns_of_distribution() -> dict[str, str]:
    return {
        table: column
        for table, (column, _) in _read_tables().items()
        if column not in ("everywhere", "one node")
    }


def _models() -> Iterator[type[models.Model]]:
    for label in OURS:
        yield from apps.get_app_config(label).get_models()


def test_each_table_is_listed_once() -> None:
    listed = [row[0].strip("`") for row in _rows_below("## Tables")]
    assert sorted(listed) == sorted(model._meta.db_table for model in _models())


def test_what_is_in_the_way_of_each_table_is_listed() -> None:
    distributed = _columns_of_distribution()
    for model in _models():
        table = model._meta.db_table
        column = distributed.get(table)
        found = set(_find_obstacles(model, column)) if column else set()
        assert _read_tables()[table][1] == found, table


def _find_obstacles(model: type[models.Model], column: str) -> Iterator[str]:
    """Yield each key and constraint that a table distributed by a column cannot have."""
    fields = model._meta.concrete_fields
    columns = {field.name: field.column for field in fields}
    if column not in columns.values():
        yield "no such column"
    for field in fields:
        if field.unique and field.column != column:
            yield str(field.column)
        target = field.related_model
        if isinstance(target, type) and target._meta.db_table in _columns_of_distribution():
            yield f"{field.column} → {target._meta.db_table}"
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            names = {columns[name] for name in constraint.fields}
            if column not in names:
                yield str(constraint.name)


@pytest.mark.django_db
def test_the_statements_of_the_hot_path_name_the_workspace(core: Core) -> None:
    checks = Checks(core, is_connected=False)
    with CaptureQueriesContext(connection) as queries:
        core.push("v1", image=ONE)
        core.push("v1", image=ONE)
        core.push("v1", image=TWO)
        core.push("v1", image=TWO)
        core.push("v2", "v3", image=index(ONE))
        core.delete("v1")
        core.delete("v1", is_admin=True)
        core.delete(ONE)
        checks.push("v4", image=ONE)
        checks.confirm(checks.begin("v5", image=ONE))
        checks.delete("v4", is_admin=True)
        core.protect(Protection.NONE)
        core.push("v6", image=ONE)
        core.push("v6", image=TWO, actor=replace(DANA, origin=Origin("192.0.2.1", "curl/8")))
        core.protect()
        core.push("v7", image=TWO, actor=replace(DANA, origin=Origin("192.0.2.1", "curl/8")))
    found = {
        (table, _shorten(part)) for query in queries for table, part in _find_unnamed(query["sql"])
    }
    listed = {(row[0].strip("`"), row[1].strip("`")) for row in _rows_below("## Statements")}
    assert found == listed


def _find_unnamed(statement: str) -> Iterator[tuple[str, str]]:
    """Yield distributed tables, and how a statement finds their rows without the column.

    The column stands before the next table that is named, or with the name of its own.
    """
    columns = _columns_of_distribution()
    places = [place for place in _NAMING.finditer(statement) if place[1] in _read_tables()]
    ends = [*(place.start() for place in places[1:]), len(statement)]
    for place, end in zip(places, ends, strict=False):
        table, part = place[1], statement[place.end() : end]
        column = columns.get(table)
        if column is None or _is_compared(column, part):
            continue
        if not _is_compared(f'{table}"?."?{column}', statement):
            yield table, statement[place.start() :]


def _is_compared(column: str, part: str) -> bool:
    """Whether a part inserts a column, or compares it with a value, or the same one elsewhere."""
    value = rf"['\d]|\S*\b{column.rpartition('?')[2]}\b"
    return bool(re.search(rf'\b{column}"?\)? (=|IN) \(?({value})|\({column}[,)]', part)) or bool(
        re.search(rf"^\W*\([^)]*\b{column}\b", part)
    )


def _shorten(part: str) -> str:
    """Return how rows are found: by which columns."""
    if part.startswith("INTO"):
        return "insert"
    names = re.findall(r'"?(\w+)"? (?:=|IN|>|<)', part.rpartition("WHERE")[2])
    return "by " + ", ".join(dict.fromkeys(names))


def _sources() -> str:
    files = [
        path
        for folder in (*OURS, "packages_site")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "models.py"
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_each_feature_that_is_listed_is_used_and_no_other() -> None:
    sources = _sources()
    for row in _rows_below("## What Taglock asks of a database"):
        assert re.search(re.escape(row[0].strip("`")), sources), row
    listed = {row[0].strip("`") for row in _rows_below("## What Taglock asks of a database")}
    for feature in _FEATURES:
        assert (feature in listed) is (feature in sources), feature


# What databases that speak PostgreSQL's protocol differ in.
_FEATURES = (
    "FOR NO KEY UPDATE",
    "FOR SHARE",
    "NOWAIT",
    "skip_locked",
    "LOCK TABLE",
    "pg_advisory",
    "LISTEN ",
    "ON CONFLICT DO NOTHING",
    "WITH RECURSIVE",
    "CREATE TRIGGER",
    "BEFORE TRUNCATE",
    "gin_trgm_ops",
    "varchar_pattern_ops",
    "JSON_AGG",
    "JSONB_ARRAY_ELEMENTS_TEXT",
    "MATERIALIZED VIEW",
    "ROW LEVEL SECURITY",
    "PARTITION OF",
    "set_config",
    "READ_COMMITTED",
)
