"""What the registry holds, as far as it was seen: manifests, what they list, pushes."""

from collections.abc import Collection

from containers.known_tags import remember_tags
from containers.models import Manifest, ManifestReference, Push
from containers.models import Repository as KnownRepository
from containers.reference import Digest, Repository, Tag
from containers.registry.manifest import (
    ManifestFacts,
    UnreadableManifestError,
    read_manifest,
)
from workspaces.models import Workspace


def record_manifest(
    workspace: Workspace, repository: Repository, digest: Digest, facts: ManifestFacts
) -> None:
    """Keep what a manifest lists, within the caller's transaction."""
    place = {"workspace": workspace, "repository": repository.name}
    KnownRepository.objects.bulk_create(
        [KnownRepository(workspace=workspace, name=repository.name)], ignore_conflicts=True
    )
    Manifest.objects.bulk_create(
        [
            Manifest(
                **place,
                digest=digest.value,
                media_type=facts.media_type,
                size=facts.size,
                subject=facts.subject.value if facts.subject else "",
            )
        ],
        ignore_conflicts=True,
    )
    ManifestReference.objects.bulk_create(
        [
            ManifestReference(**place, parent=digest.value, child=child.value)
            for child in sorted(facts.children)
        ],
        ignore_conflicts=True,
    )


def record_seen(
    workspace: Workspace, repository: Repository, digest: Digest, body: bytes, media_type: str
) -> None:
    """Keep what a manifest lists, within the caller's transaction.

    One that cannot be read stays unknown, which deletes heed.
    """
    try:
        facts = read_manifest(body, media_type)
    except UnreadableManifestError:
        return
    record_manifest(workspace, repository, digest, facts)


def record_pushes(
    workspace: Workspace,
    repository: Repository,
    tags: Collection[Tag],
    digest: Digest,
    actor: str,
) -> None:
    """Keep that a push of these tags landed, within the caller's transaction."""
    remember_tags(workspace, repository, tags, digest)
    Push.objects.bulk_create(
        Push(
            workspace=workspace,
            repository=repository.name,
            tag=tag.name,
            digest=digest.value,
            actor=actor,
        )
        for tag in sorted(tags)
    )


def forget_manifest(workspace: Workspace, repository: Repository, digest: Digest) -> None:
    """Forget a manifest that was deleted, and what it lists."""
    place = {"workspace": workspace, "repository": repository.name}
    Manifest.objects.filter(**place, digest=digest.value).delete()
    ManifestReference.objects.filter(**place, parent=digest.value).delete()


def find_ancestors(workspace: Workspace, repository: Repository, digest: Digest) -> set[Digest]:
    """Return every manifest that lists `digest`, directly or through others."""
    ancestors: set[str] = set()
    generation = {digest.value}
    while generation:
        parents = set(
            ManifestReference.objects.filter(
                workspace=workspace, repository=repository.name, child__in=generation
            ).values_list("parent", flat=True)
        )
        generation = parents - ancestors
        ancestors |= parents
    return {Digest(value) for value in ancestors}


def find_descendants(
    workspace: Workspace, repository: Repository, digests: Collection[Digest]
) -> set[Digest]:
    """Return `digests` and everything that is known to be listed by them, to any depth."""
    seen: set[str] = set()
    generation = {digest.value for digest in digests}
    while generation:
        seen |= generation
        children = ManifestReference.objects.filter(
            workspace=workspace, repository=repository.name, parent__in=generation
        )
        generation = set(children.values_list("child", flat=True)) - seen
    return {Digest(value) for value in seen}


def find_unknown(
    workspace: Workspace, repository: Repository, digests: Collection[Digest]
) -> set[Digest]:
    """Return those of `digests`, and of all that they list, whose lists are not known."""
    place = {"workspace": workspace, "repository": repository.name}
    unknown: set[str] = set()
    seen: set[str] = set()
    generation = {digest.value for digest in digests}
    while generation:
        seen |= generation
        known = set(
            Manifest.objects.filter(**place, digest__in=generation).values_list("digest", flat=True)
        )
        unknown |= generation - known
        children = ManifestReference.objects.filter(**place, parent__in=known)
        generation = set(children.values_list("child", flat=True)) - seen
    return {Digest(value) for value in unknown}
