"""What a migration may do while the code of the release before goes on: add, and take nothing away.

CONTRIBUTING.md ("Write a migration") says it to people.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

# What has a row for each push, lock or event: nothing waits while an index of it is built.
LARGE = frozenset(
    {
        "claim", "eventorigin", "eventrepeat", "eventseal", "lockedtag", "lockevent", "manifest",
        "manifestreference", "push", "tag",
    }
)  # fmt: skip
# What the database knows nothing of.
ONLY_IN_PYTHON = frozenset(
    {
        "blank", "choices", "default", "editable", "error_messages", "help_text", "on_delete",
        "related_name", "related_query_name", "validators", "verbose_name",
    }
)  # fmt: skip
ONLY_IN_STATE = (ops.AlterModelOptions, ops.AlterModelManagers)


def find_reasons(migration: Migration, before: ProjectState) -> list[str]:
    """Return why the code of the release before could fail beside a migration; nothing if it can't.

    `before` is the state of the models before it, and after it when this returns.
    """
    made: set[str] = set()
    return [
        f"{migration}: {reason}"
        for operation in migration.operations
        for reason in _judge(operation, migration.app_label, before, made)
    ]


def _judge(operation: Any, app: str, state: ProjectState, made: set[str]) -> Iterator[str]:
    """Yield what is wrong with an operation, and take it over into the state."""
    if isinstance(operation, ops.SeparateDatabaseAndState):
        for each in operation.database_operations:
            yield from _judge(each, app, state.clone(), made)
    elif isinstance(operation, ops.CreateModel):
        made.add(operation.name_lower)
    elif _find_model(operation) not in made:
        yield from _judge_change(operation, app, state)
    operation.state_forwards(app, state)


def _find_model(operation: Any) -> str:
    return str(getattr(operation, "model_name_lower", getattr(operation, "name_lower", "")))


def _judge_change(operation: Any, app: str, state: ProjectState) -> Iterator[str]:
    """Yield what is wrong with an operation on a table that old code uses."""
    model = _find_model(operation)
    if isinstance(operation, ops.AddField):
        yield from _judge_field(operation.field, model, operation.name)
    elif isinstance(operation, ops.AlterField):
        old = state.models[app, model].fields[operation.name]
        if changed := _find_narrowed(old, operation.field):
            yield f"{model}.{operation.name}: {', '.join(sorted(changed))} changes"
    elif isinstance(operation, ops.AddIndex):
        if model in LARGE and not isinstance(operation, AddIndexConcurrently):
            yield f"{operation.index.name} is built while pushes wait: AddIndexWithoutLock"
    elif not isinstance(operation, ONLY_IN_STATE):
        yield _describe(operation)


def _judge_field(field: Any, model: str, name: str) -> Iterator[str]:
    if not (field.null or field.many_to_many or field.has_db_default()):
        yield f"{model}.{name} has neither null nor db_default: old code inserts rows without it"
    if model in LARGE and (field.db_index or field.unique):
        yield f"the index of {model}.{name} is built while pushes wait: AddIndexWithoutLock, later"


def _describe(operation: Any) -> str:
    if isinstance(operation, ops.AddConstraint):
        return f"{operation.constraint.name} may refuse what old code writes"
    if isinstance(operation, ops.RunPython | ops.RunSQL):
        return f"no one can tell what {type(operation).__name__} does"
    return f"{operation.describe()}: old code may use what is changed"


def _find_narrowed(old: Any, new: Any) -> set[str]:
    """Return what of a field changes so that old code's values may not fit any more."""
    (_, old_kind, _, before), (_, new_kind, _, after) = old.deconstruct(), new.deconstruct()
    names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    changed = {name for name in names - ONLY_IN_PYTHON if not _is_wider(name, before, after)}
    return changed | ({"its kind"} if old_kind != new_kind else set())


def _is_wider(name: str, before: dict[str, Any], after: dict[str, Any]) -> bool:
    if name == "max_length":
        return bool(before.get(name) and (after.get(name) or 0) >= before[name])
    if name == "null":
        return bool(after.get(name))
    return name == "db_default" and name in after
