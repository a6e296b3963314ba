"""What is known of manifests: what they list, and what lists them."""

from collections.abc import Collection

from containers import sql
from containers.models import Manifest, ManifestReference
from containers.names import Digest, RepositoryName
from containers.registry.manifest import ManifestFacts
from workspaces.models import Workspace


def record_manifest(
    workspace: Workspace, repository: RepositoryName, digest: Digest, facts: ManifestFacts
) -> None:
    """Keep what a manifest lists, within the caller's transaction.

    Its row comes first: its holder adds to the list.
    """
    row = describe(workspace, repository, digest, facts)
    Manifest.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "repository", "digest"],
        update_fields=["media_type", "size", "image_size", "subject", "is_read"],
    )
    _record_list(row, facts)


def describe(
    workspace: Workspace, repository: RepositoryName, digest: Digest, facts: ManifestFacts
) -> Manifest:
    """Return a manifest's row with what the manifest says. Neither row nor list is saved."""
    row = Manifest(workspace=workspace, repository=repository.name, digest=digest.value)
    _describe(row, facts)
    return row


def record_facts(row: Manifest, facts: ManifestFacts) -> None:
    """Keep what a manifest lists; its row, which is held, is the caller's to save."""
    _describe(row, facts)
    _record_list(row, facts)


def _describe(row: Manifest, facts: ManifestFacts) -> None:
    row.media_type, row.size, row.is_read = facts.media_type, facts.size, True
    row.image_size = facts.image_size
    row.subject = facts.subject.value if facts.subject else ""


def _record_list(row: Manifest, facts: ManifestFacts) -> None:
    if facts.children:
        ManifestReference.objects.bulk_create(
            [
                ManifestReference(
                    workspace=row.workspace,
                    repository=row.repository,
                    parent=row.digest,
                    child=child.value,
                )
                for child in sorted(facts.children)
            ],
            ignore_conflicts=True,
        )


def find_ancestors(workspace: Workspace, repository: RepositoryName, digest: Digest) -> set[Digest]:
    """Return every manifest that lists `digest`, directly or through others."""
    found = find_all_ancestors(workspace, repository, {digest.value})
    return {Digest(value) for value in found}


def find_all_ancestors(
    workspace: Workspace, repository: RepositoryName, digests: Collection[str]
) -> set[str]:
    """Return every manifest that lists one of `digests`, directly or through others."""
    ancestors: set[str] = set()
    generation = set(digests)
    while generation:
        parents = set(
            ManifestReference.objects.filter(
                workspace=workspace, repository=repository.name, child__in=generation
            ).values_list("parent", flat=True)
        )
        generation = parents - ancestors
        ancestors |= parents
    return ancestors


def find_descendants(
    workspace: Workspace, repository: RepositoryName, digests: Collection[Digest]
) -> set[Digest]:
    """Return `digests` and everything that is known to be listed by them, to any depth."""
    names = sorted(digest.value for digest in digests)
    below = sql.find_descendants(workspace.pk, repository.name, names)
    return {*digests, *map(Digest, below)}


def find_unknown(
    workspace: Workspace, repository: RepositoryName, digests: Collection[Digest]
) -> set[Digest]:
    """Return those of `digests`, and of all that they list, whose lists are not known."""
    place = {"workspace": workspace, "repository": repository.name}
    unknown: set[str] = set()
    seen: set[str] = set()
    generation = {digest.value for digest in digests}
    while generation:
        seen |= generation
        known = set(
            Manifest.objects.filter(**place, digest__in=generation, is_read=True).values_list(
                "digest", flat=True
            )
        )
        unknown |= generation - known
        children = ManifestReference.objects.filter(**place, parent__in=known)
        generation = set(children.values_list("child", flat=True)) - seen
    return {Digest(value) for value in unknown}
