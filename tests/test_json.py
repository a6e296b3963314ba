"""JSON answers are UTF-8 as it is: clients that print a body raw show what a person can read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from rest_framework.test import APIClient

from immutability.answers import Refusal
from immutability.gate.answers import error_answer, refusal_answer, undecided_answer
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB
from workspaces.json_renderer import UTF8JSONRenderer
from workspaces.json_response import UTF8JsonResponse, encode_json
from workspaces.models import Workspace
from workspaces.problem_details import plain_problem_response

TEXT = "“é” … 標籤 🐳 \u2028"
EDGE = Path(__file__).parents[1] / "deploy" / "nginx" / "taglock.conf"

ANSWERS: dict[str, Callable[[str], bytes]] = {
    "API": lambda text: UTF8JSONRenderer().render({"text": text}),
    "outside of the API's views": lambda text: UTF8JsonResponse({"text": text}).content,
    "problem": lambda text: plain_problem_response(400, "bad", text).content,
    "gate": lambda text: error_answer(400, "DENIED", text).content,
    "gate, undecided": lambda text: undecided_answer(text).content,
    "refusal": lambda text: refusal_answer(Refusal(403, {"message": text})).content,
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_kind_of_answer_is_utf_8_as_it_is(kind: str) -> None:
    body = ANSWERS[kind](TEXT)
    assert TEXT in body.decode()
    json.loads(body)


@pytest.mark.parametrize("kind", ANSWERS)
def test_half_a_character_breaks_no_answer(kind: str) -> None:
    assert b"\\ud800" in ANSWERS[kind]("a\ud800b")
    json.loads(ANSWERS[kind]("a\ud800b"))


def test_half_a_character_comes_back_as_it_was() -> None:
    assert json.loads(encode_json(["a\udfff…"])) == ["a\udfff…"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_json_is_not_sent(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json(number)


def test_a_refusal_is_readable_in_the_body_itself(
    acme: Workspace, registry: APIClient, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    for digest in (AA, BB):
        asked = {"repository": "acme/api", "tag": "v1", "digest": digest, "actor": "dàna"}
        response = registry.post("/api/v1/check-push", asked, format="json")
    assert "sha256:aaaaaaaaaaaa…" in response.content.decode()
    assert "dàna" in response.content.decode()


@pytest.mark.parametrize(
    "path",
    ["/auth/token?service=caf%C3%A9", "/api/v1/caf%C3%A9", "/api/v1/workspaces/café/locked-tags"],
)
def test_an_error_has_nothing_escaped(db: None, path: str) -> None:
    body = Client().get(path).content
    assert b"\\u" not in body
    json.loads(body)


def test_the_edge_answers_plain_text_in_its_json() -> None:
    assert "\\u" not in EDGE.read_text()


def test_an_answer_keeps_its_status_and_its_headers() -> None:
    answer = refusal_answer(Refusal(403, {"message": TEXT}, {"Retry-After": "10"}))
    assert (answer.status_code, answer["Retry-After"]) == (403, "10")
    assert answer["Content-Type"] == "application/json"
