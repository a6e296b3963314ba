"""What registries report: read from the notifications of Distribution and the webhooks of Harbor.

GitLab's registry is built on Distribution and sends the same. What is reported is a hint: anyone
who can reach the endpoint with the registry's token can write one, and Distribution sends it before
the tag is written.
https://distribution.github.io/distribution/about/notifications/
https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from containers.names import (
    Digest,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_digest,
    parse_repository,
    parse_tag,
)

MAX_REPORTS = 100
MEDIA_TYPES = (
    "application/json",
    "application/vnd.docker.distribution.events.v1+json",
    "application/vnd.docker.distribution.events.v2+json",
    "application/cloudevents+json",
)
_DISTRIBUTION = {"push": False, "delete": True}
_HARBOR = {
    "PUSH_ARTIFACT": False,
    "DELETE_ARTIFACT": True,
    "harbor.artifact.pushed": False,
    "harbor.artifact.deleted": True,
}


class TooManyReportsError(Exception):
    """One body reports more than any registry sends at once."""


@dataclass(frozen=True)
class Report:
    """A registry's word that a tag was pushed, or a tag or a manifest deleted.

    Where a manifest was deleted, every tag that pointed at it is gone with it. The tag is None
    where none was named, the digest where that was not.
    """

    repository: RepositoryName
    tag: TagName | None
    digest: Digest | None
    is_delete: bool


def read_reports(document: Any) -> list[Report]:
    """Return what a body reports about tags. What says nothing of tags is left out.

    Raises TooManyReportsError.
    """
    if not isinstance(document, Mapping):
        return []
    events = document.get("events")
    if isinstance(events, list):
        _require_few(events)
        return [report for each in events for report in _read_event(each)]
    data = document.get("event_data") or document.get("data")
    return list(_read_webhook(document.get("type"), data))


def _read_event(event: Any) -> Iterator[Report]:
    """Yield what an event of Distribution says: one, or none."""
    target = event.get("target") if isinstance(event, Mapping) else None
    if isinstance(target, Mapping):
        is_delete = _choose(_DISTRIBUTION, event.get("action"))
        tag, digest = target.get("tag"), target.get("digest")
        yield from _read(target.get("repository"), tag, digest, is_delete=is_delete)


def _read_webhook(kind: Any, data: Any) -> Iterator[Report]:
    """Yield what a webhook of Harbor says of each of its resources.

    One that has no tag is named by its digest, in the place of the tag.
    """
    repository = data.get("repository") if isinstance(data, Mapping) else None
    if not isinstance(repository, Mapping):
        return
    resources = data.get("resources")
    if not isinstance(resources, list):
        return
    _require_few(resources)
    for each in resources:
        if isinstance(each, Mapping):
            tag, digest = each.get("tag"), each.get("digest")
            yield from _read(
                repository.get("repo_full_name"),
                None if tag == digest else tag,
                digest,
                is_delete=_choose(_HARBOR, kind),
            )


def _read(repository: Any, tag: Any, digest: Any, *, is_delete: bool | None) -> Iterator[Report]:
    """Yield what can be read; nothing of what moves no tag, or has a name that no tag can have."""
    if is_delete is None or not (tag or (digest and is_delete)):
        return
    try:
        yield Report(
            parse_repository(_text(repository)),
            parse_tag(_text(tag)) if tag else None,
            parse_digest(_text(digest)) if digest else None,
            is_delete,
        )
    except InvalidReferenceError:
        return


def _choose(kinds: Mapping[str, bool], kind: Any) -> bool | None:
    return kinds.get(kind) if isinstance(kind, str) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _require_few(listed: list[Any]) -> None:
    if len(listed) > MAX_REPORTS:
        raise TooManyReportsError(
            f"There are {len(listed)} events; at most {MAX_REPORTS} are allowed."
        )
