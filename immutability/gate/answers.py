"""What the gate answers: as the registry does, in OCI's words."""

from django.http import HttpResponse

from containers.names import RepositoryName
from containers.registry.client import RegistryAnswer
from immutability.answers import Refusal
from immutability.policy.messages import oci_error
from immutability.policy.waiting import RETRY_AFTER_SECONDS
from workspaces.current_request import current_request
from workspaces.json_response import UTF8JsonResponse

# What a client may want to know of the registry's answer; everything else stays behind.
_PASSED_ON = (
    "Content-Type",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "OCI-Subject",
    "OCI-Tag",
    "Retry-After",
    # To callers with an account at the registry; Taglock's own 401 is never passed on.
    "WWW-Authenticate",
)


def error_answer(status: int, code: str, message: str) -> HttpResponse:
    """Answer with an OCI error, which is noted as the cause."""
    current_request().cause = message
    return UTF8JsonResponse(oci_error(code, message, {}), status=status)


def denial() -> HttpResponse:
    """Answer a caller who may not do this."""
    return error_answer(403, "DENIED", "requested access to the resource is denied")


def undecided_answer(why: str, seconds: int = RETRY_AFTER_SECONDS) -> HttpResponse:
    """Answer that nothing was decided, so the write was not, or not certainly, carried out."""
    response = error_answer(
        503, "UNAVAILABLE", f"Taglock cannot decide this now: {why}. Try again."
    )
    response["Retry-After"] = str(seconds)
    return response


def refusal_answer(refusal: Refusal) -> HttpResponse:
    """Answer with a refusal."""
    return UTF8JsonResponse(refusal.body, status=refusal.status, headers=refusal.headers)


def refused_look_answer(answer: RegistryAnswer) -> HttpResponse:
    """Answer a caller whom the registry did not let look: its answer to HEAD has no body."""
    code = "UNAUTHORIZED" if answer.status == 401 else "DENIED"
    response = error_answer(answer.status, code, "the registry does not let you pull from here")
    if "WWW-Authenticate" in answer.headers:
        response["WWW-Authenticate"] = answer.headers["WWW-Authenticate"]
    return response


def relayed_answer(answer: RegistryAnswer, repository: RepositoryName) -> HttpResponse:
    """Pass the registry's answer on. Its Location is rewritten to lead through the edge."""
    if answer.is_body_dropped and not answer.is_success:
        return error_answer(answer.status, "MANIFEST_INVALID", f"Refused: {answer.reason}.")
    if not answer.is_success:
        current_request().cause = answer.reason
    response = HttpResponse(answer.body, status=answer.status)
    del response["Content-Type"]
    for name in _PASSED_ON:
        if name in answer.headers:
            response[name] = answer.headers[name]
    if answer.status == 201:
        response["Location"] = f"/v2/{repository.name}/manifests/{answer.digest}"
    return response
