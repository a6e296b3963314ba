"""The page that shows the API: every call, with its fields, an example and its errors."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from packages_site.api_examples import EXAMPLES, PROBLEM_TYPE, PROBLEMS, read_schema
from workspaces.problem_details import STATUS_TITLES

Schema = dict[str, Any]

# What stands for a path's names in examples.
_NAMES = {
    "slug": "acme",
    "claim_id": "0b5a7f4e-0d1c-4a52-9a55-1f1f3b0b0c6e",
    "lock_id": "17",
    "ref": "7QK2M9T4XB3W",
    "token_id": "7",
    "repository": "acme/api",
}
# Deeper than any object of the API goes.
_MAX_DEPTH = 6


@dataclass(frozen=True)
class FieldRow:
    """A parameter, or a field of a body. Names of nested ones begin with what they are in."""

    name: str
    type: str
    notes: str
    is_required: bool = False
    place: str = ""


@dataclass(frozen=True)
class ErrorRow:
    """An error that a call may be answered with."""

    status: int
    title: str
    code: str
    when: str


@dataclass(frozen=True)
class Call:
    """One call of the API."""

    id: str
    title: str
    method: str
    path: str
    description: list[str]
    parameters: list[FieldRow]
    request: list[FieldRow]
    command: str
    copied: str
    status: int
    media_types: list[str]
    response: list[FieldRow]
    answer: str
    errors: list[ErrorRow]


@dataclass(frozen=True)
class Group:
    """Calls about one subject."""

    id: str
    title: str
    calls: list[Call] = field(default_factory=list)


@require_safe
def api_reference(request: HttpRequest) -> HttpResponse:
    """Show every call of the API. It is the same page for everyone."""
    context = {
        "groups": list_groups(),
        "base": f"{settings.PUBLIC_URL}/api/v1",
        "problem_example": _write_json(_example_problem()),
    }
    return render(request, "api_reference.html", context)


def list_groups() -> list[Group]:
    """Return all calls by subject, both in the order of the examples."""
    schema = read_schema()
    groups: dict[str, Group] = {}
    operations = [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    order = {name: place for place, name in enumerate(EXAMPLES)}
    operations.sort(key=lambda each: order.get(each[2]["operationId"], len(order)))
    for path, method, operation in operations:
        title = operation["tags"][0]
        group = groups.setdefault(title, Group(title.lower().replace(" ", "-"), title))
        group.calls.append(_describe_call(schema, path, method, operation))
    return list(groups.values())


def _describe_call(schema: Schema, path: str, method: str, operation: Schema) -> Call:
    name = operation["operationId"]
    example = EXAMPLES.get(name, {})
    status = next(status for status in operation["responses"] if status.startswith("2"))
    content: Schema = operation["responses"][status].get("content", {})
    answered: Schema = next(iter(content.values()))["schema"] if content else {}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return Call(
        id=name.replace("_", "-"),
        title=name.replace("_", " ").capitalize(),
        method=method.upper(),
        path=path,
        description=operation["description"].split("\n\n"),
        parameters=[_describe_parameter(each) for each in operation.get("parameters", [])],
        request=list(_list_fields(schema, body.get("schema", {}))),
        command=_write_command(path, method, example),
        copied=f"the call {name}",
        status=int(status),
        media_types=list(content),
        response=list(_list_fields(schema, answered)),
        answer=example.get("text") or _write_json(example.get("response")),
        errors=sorted(_list_errors(operation), key=lambda error: error.status),
    )


def _describe_parameter(parameter: Schema) -> FieldRow:
    return FieldRow(
        name=parameter["name"],
        type=_name_type(parameter["schema"]),
        notes=_note(parameter["schema"], parameter.get("description", "")),
        is_required=parameter.get("required", False),
        place=parameter["in"],
    )


def _list_fields(
    schema: Schema, of: Schema, within: str = "", depth: int = 0
) -> Iterator[FieldRow]:
    """Yield the fields of an object, each followed by those that are in it."""
    of = _resolve(schema, of)
    required = of.get("required", [])
    for name, value in of.get("properties", {}).items():
        found = _resolve(schema, value)
        yield FieldRow(
            name=within + name,
            type=_name_type(found),
            notes=_note(found, value.get("description") or found.get("description", "")),
            is_required=name in required,
        )
        is_list = found.get("type") == "array"
        inner = found.get("items", {}) if is_list else found
        if depth < _MAX_DEPTH:
            prefix = f"{within}{name}[]." if is_list else f"{within}{name}."
            yield from _list_fields(schema, inner, prefix, depth + 1)


def _resolve(schema: Schema, of: Schema) -> Schema:
    """Return what a reference stands for; what is said beside it goes before."""
    while True:
        if "$ref" in of:
            name = of["$ref"].rpartition("/")[2]
            rest = {key: value for key, value in of.items() if key != "$ref"}
            of = {**schema["components"]["schemas"][name], **rest}
        elif "allOf" in of or "oneOf" in of:
            parts = of.get("allOf") or of["oneOf"]
            rest = {key: value for key, value in of.items() if key not in ("allOf", "oneOf")}
            is_null = any(_is_null(schema, part) for part in parts)
            first = next(part for part in parts if not _is_null(schema, part))
            of = {**_resolve(schema, first), **rest, **({"nullable": True} if is_null else {})}
        else:
            return of


def _is_null(schema: Schema, part: Schema) -> bool:
    """Whether this is the choice of null beside others."""
    name = part.get("$ref", "").rpartition("/")[2]
    return bool(schema["components"]["schemas"].get(name, part).get("enum") == [None])


def _name_type(of: Schema) -> str:
    """Return the type of a value in words."""
    kind = of.get("type", "any")
    if kind == "array":
        inner = of.get("items", {})
        kind = f"list of {_name_type(inner)}s" if inner.get("type") else "list of objects"
    elif kind == "string" and of.get("format"):
        kind = {"date-time": "date and time", "uuid": "UUID"}.get(of["format"], of["format"])
    return f"{kind} or null" if of.get("nullable") else str(kind)


def _note(of: Schema, description: str) -> str:
    """Return what else there is to know of a value: meaning, choices, limits, default."""
    notes = [description.strip()] if description else []
    choices = of.get("enum") or of.get("items", {}).get("enum")
    if choices:
        notes.append(f"One of {', '.join(str(each) for each in choices if each is not None)}.")
    low, high = of.get("minLength"), of.get("maxLength")
    if high is not None:
        notes.append(f"{low}–{high} characters." if low else f"At most {high} characters.")
    if "maxItems" in of:
        notes.append(f"At most {of['maxItems']} items.")
    if "maximum" in of:
        notes.append(f"{of.get('minimum', 0)}–{of['maximum']}.")
    if of.get("default") not in (None, "", []):
        notes.append(f"Default: {json.dumps(of['default'])}.")
    return " ".join(notes)


def _list_errors(operation: Schema) -> Iterator[ErrorRow]:
    for status, response in operation["responses"].items():
        examples = response.get("content", {}).get(PROBLEM_TYPE, {}).get("examples", {})
        for code, example in examples.items():
            number = int(status)
            yield ErrorRow(number, STATUS_TITLES.get(number, ""), code, example["summary"])


def _write_command(path: str, method: str, example: Schema) -> str:
    """Return a command that makes the example's call. The token is in the shell's TOKEN."""
    address = settings.PUBLIC_URL + path.format(**_NAMES)
    if query := example.get("query"):
        address = f"{address}?{query}"
    verb = (
        ""
        if (method in ("get", "post") and "request" in example) or method == "get"
        else (f"--request {method.upper()} ")
    )
    lines = [f"curl {verb}{shlex.quote(address)}", '--header "Authorization: Bearer $TOKEN"']
    lines += [
        f"--header {shlex.quote(f'{name}: {value}')}"
        for name, value in example.get("headers", {}).items()
    ]
    if "request" in example:
        lines.append(f"--json {shlex.quote(_write_json(example['request']))}")
    return " \\\n  ".join(lines)


def _example_problem() -> Schema:
    problem = PROBLEMS["NAME_INVALID"]
    errors = [{"detail": problem.detail, "pointer": "#/repository", "code": "NAME_INVALID"}]
    return {
        "title": STATUS_TITLES[problem.status],
        "status": problem.status,
        "code": "NAME_INVALID",
        "detail": problem.detail,
        "errors": errors,
    }


def _write_json(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
