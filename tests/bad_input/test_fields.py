"""Fields of another type, with bad characters, or outside of their grammar."""

import json

import pytest
from django.test import Client

from tests.bad_input.requests import (
    EXCEPTION_NAME,
    EXCEPTION_PATTERN,
    REQUESTS,
    RULE_NAME,
    RULE_PATTERN,
    Path,
    read_errors,
    send,
    spoilt,
)
from tests.conftest import AA
from tests.problems import Complaints, nothing_written, read_problem

pytestmark = pytest.mark.slow

TEXT_FIELDS: list[tuple[str, Path]] = [
    ("check-push", ("repository",)),
    ("check-push", ("tag",)),
    ("check-push", ("digest",)),
    ("check-push", ("current_digest",)),
    ("check-push", ("actor",)),
    ("check-delete", ("repository",)),
    ("check-delete", ("tag",)),
    ("check-delete", ("actor",)),
    ("container-settings", ("protection",)),
    ("container-settings", RULE_NAME),
    ("container-settings", RULE_PATTERN),
    ("container-settings", EXCEPTION_NAME),
    ("container-settings", EXCEPTION_PATTERN),
    ("test", ("protection",)),
    ("test", RULE_NAME),
    ("test", RULE_PATTERN),
    ("test", EXCEPTION_NAME),
    ("test", EXCEPTION_PATTERN),
    ("delete", ("name",)),
    ("delete", ("reason",)),
    ("release", ("reason",)),
    ("access token", ("name",)),
    ("access token", ("scopes", 0)),
]
SWITCHES = [
    ("check-push", ("dry_run",)),
    ("check-push", ("two_phase",)),
    ("container-settings", ("refuse_identical_pushes",)),
    ("container-settings", ("protect_signature_tags",)),
    ("container-settings", ("suspend_locks",)),
    ("test", ("protect_signature_tags",)),
    ("repository", ("is_public",)),
]
LISTS = [
    ("check-push", ("tags",)),
    ("container-settings", ("rules",)),
    ("container-settings", ("exceptions",)),
    ("test", ("rules",)),
    ("test", ("exceptions",)),
    ("test", ("tags",)),
    ("access token", ("scopes",)),
]
NO_TEXT = ["0", "5", "-1.5", "1e400", "true", "[]", '["v1"]', "{}", '{"a": {"b": [1]}}', "null"]
NO_SWITCH = ["2", "-1", "1e400", '"perhaps"', '""', "[]", "[true]", "{}", "null"]
NO_LIST = ["5", "true", '"v1"', "{}", '{"0": "v1"}', "null", "[[]]", "[null]", "[5]", "[{}]"]


def name_of(value: object) -> str:
    return "values" if isinstance(value, list) else json.dumps(value)


@pytest.mark.parametrize(
    ("request_name", "path", "values"),
    [
        *((*field, NO_TEXT) for field in TEXT_FIELDS if field[1] != ("current_digest",)),
        ("check-push", ("current_digest",), NO_TEXT[:-1]),
        *((*field, NO_SWITCH) for field in SWITCHES),
        *((*field, NO_LIST) for field in LISTS),
    ],
    ids=name_of,
)
def test_a_value_of_another_type_is_refused(
    caller: Client, request_name: str, path: Path, values: list[str]
) -> None:
    complaints = Complaints()
    with nothing_written():
        for value in values:
            with complaints.about(value):
                read_errors(send(caller, request_name, spoilt(request_name, path, value)), path)
    assert not complaints


def test_what_is_no_text_is_refused_as_a_sample_tag(caller: Client) -> None:
    complaints = Complaints()
    for value in NO_TEXT:
        with complaints.about(value):
            read_errors(send(caller, "test", f'{{"tags": ["v1", {value}]}}'), ("tags", 1))
    assert not complaints


BAD_CHARACTERS = {
    "NUL": r"\u0000",
    "line feed": r"\n",
    "escape": r"\u001b",
    "delete": r"\u007f",
    "next line": r"\u0085",
    "high surrogate": r"\ud800",
    "low surrogate": r"\udfff",
    "surrogates the wrong way round": r"\udc00\ud800",
    "line separator": r"\u2028",
    "right-to-left override": r"\u202e",
    "isolate": r"\u2066",
}


@pytest.mark.parametrize(
    ("request_name", "path"), [*TEXT_FIELDS, ("check-push", ("tags", 0))], ids=name_of
)
def test_control_characters_and_lone_surrogates_are_refused_in_every_text(
    caller: Client, request_name: str, path: Path
) -> None:
    complaints = Complaints()
    with nothing_written():
        for name, character in BAD_CHARACTERS.items():
            value = f'"v1{character}x"'
            place, value = (("tags",), f"[{value}]") if path == ("tags", 0) else (path, value)
            with complaints.about(name):
                read_errors(send(caller, request_name, spoilt(request_name, place, value)), path)
    assert not complaints


def test_a_sample_with_a_bad_character_is_no_tag(caller: Client) -> None:
    complaints = Complaints()
    for name, character in BAD_CHARACTERS.items():
        body = f'{{"tags": ["v1{character}x"], "protection": "all"}}'
        with complaints.about(name):
            response = send(caller, "test", body)
            if response.status_code == 200:
                result = response.json()["results"][0]
                assert (result["would_be_locked"], bool(result["problem"])) == (False, True)
            else:
                read_errors(response, ("tags", 0))
    assert not complaints


@pytest.mark.parametrize("request_name", REQUESTS)
def test_an_unknown_field_with_a_bad_name_is_refused(caller: Client, request_name: str) -> None:
    complaints = Complaints()
    good = json.dumps(REQUESTS[request_name][2])
    with nothing_written():
        for name, character in BAD_CHARACTERS.items():
            body = f'{good[:-1]}, "a{character}b": 1}}'
            with complaints.about(name):
                read_problem(send(caller, request_name, body), 400, "invalid")
    assert not complaints


TOO_LONG = [
    ("check-push", "repository", "acme/" + "a" * 251, "NAME_INVALID"),
    ("check-push", "tag", "v" * 129, "NAME_INVALID"),
    ("check-push", "digest", "sha256:" + "a" * 65, "DIGEST_INVALID"),
    ("check-push", "digest", "x:" + "a" * 255, "DIGEST_INVALID"),
    ("check-push", "current_digest", "sha256:" + "a" * 63, "DIGEST_INVALID"),
    ("check-push", "actor", "a" * 256, "invalid"),
    ("check-delete", "repository", "acme/" + "a" * 251, "NAME_INVALID"),
    ("check-delete", "tag", "v" * 129, "NAME_INVALID"),
    ("check-delete", "actor", "a" * 256, "invalid"),
    ("release", "reason", "a" * 501, "invalid"),
    ("delete", "reason", "a" * 501, "invalid"),
    ("access token", "name", "a" * 101, "invalid"),
]
BAD_NAMES = [
    ("check-push", "repository", "acme/", "NAME_INVALID"),
    ("check-push", "repository", "Acme/api", "NAME_INVALID"),
    ("check-push", "repository", "/acme/api", "NAME_INVALID"),
    ("check-push", "repository", "acme//api", "NAME_INVALID"),
    ("check-push", "repository", "acme/api/", "NAME_INVALID"),
    ("check-push", "repository", "acme/../globex", "NAME_INVALID"),
    ("check-push", "repository", " acme/api", "NAME_INVALID"),
    ("check-push", "repository", "acme/api:v1", "NAME_INVALID"),
    ("check-push", "repository", "acme/é", "NAME_INVALID"),
    ("check-push", "repository", "acme/a\u0660", "NAME_INVALID"),
    ("check-push", "repository", "", "NAME_INVALID"),
    ("check-push", "tag", "", "NAME_INVALID"),
    ("check-push", "tag", " v1", "NAME_INVALID"),
    ("check-push", "tag", "v1 ", "NAME_INVALID"),
    ("check-push", "tag", "-v1", "NAME_INVALID"),
    ("check-push", "tag", ".v1", "NAME_INVALID"),
    ("check-push", "tag", "v1/2", "NAME_INVALID"),
    ("check-push", "tag", AA, "NAME_INVALID"),
    ("check-push", "tag", "v\u0661", "NAME_INVALID"),
    ("check-push", "digest", "", "DIGEST_INVALID"),
    ("check-push", "digest", "v1", "DIGEST_INVALID"),
    ("check-push", "digest", "sha256:" + "A" * 64, "DIGEST_INVALID"),
    ("check-push", "digest", " " + AA, "DIGEST_INVALID"),
    ("check-push", "current_digest", "", "DIGEST_INVALID"),
    ("check-push", "actor", "", "invalid"),
    ("check-delete", "tag", AA, "NAME_INVALID"),
]


@pytest.mark.parametrize(("request_name", "field", "value", "code"), TOO_LONG + BAD_NAMES)
def test_names_outside_of_the_grammar_or_its_limits_are_refused_with_the_oci_code(
    caller: Client, request_name: str, field: str, value: str, code: str
) -> None:
    with nothing_written():
        response = send(caller, request_name, spoilt(request_name, (field,), json.dumps(value)))
    problem = read_errors(response, (field,))
    assert problem["code"] == code
    assert len(problem["detail"]) < 500


def test_a_digest_to_delete_is_checked_too(caller: Client) -> None:
    with nothing_written():
        response = send(caller, "check-delete", '{"repository": "acme/api", "digest": "sha256:0"}')
    assert read_errors(response, ("digest",))["code"] == "DIGEST_INVALID"
