"""A registry of several repositories, and acme in front of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from containers.names import RepositoryName, TagName
from containers.registry.client import Descriptor, RegistryClient, RegistryUnavailableError
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from immutability.reading import read_policy
from immutability.reconcile import comparison
from immutability.reconcile.drift import Asker
from tests.immutability.core import Core
from tests.immutability.registry_double import REPOSITORY, Call, RegistryDouble, answer
from workspaces.models import Workspace


@dataclass
class Library(RegistryDouble):
    """Has the same tags in each of its repositories, and tells the calls of each apart."""

    repositories: list[str] = field(default_factory=lambda: [REPOSITORY.name])
    page_size: int = 2
    asked: list[str] = field(default_factory=list)
    # Repositories of which it shows nothing.
    broken: set[str] = field(default_factory=set)

    def page_tags(self, repository: RepositoryName, after: str = "") -> tuple[list[str], bool]:
        self.asked.append(f"{repository}?{after}")
        self._require_whole(repository)
        self._script("LIST", repository.name)
        names = sorted(self.tags) if repository.name in self.repositories else []
        behind = [name for name in names if name > after]
        return behind[: self.page_size], len(behind) > self.page_size

    def page_repositories(self, after: str = "") -> tuple[list[str], bool]:
        self._script("CATALOG", after)
        names = sorted(["acme-x/api", *self.repositories, "zebra/api"])
        return [name for name in names if name > after], False

    def head_manifest(self, repository: RepositoryName, reference: Any) -> Descriptor | None:
        if isinstance(reference, TagName):
            self.asked.append(f"{repository}:{reference}")
        self._require_whole(repository)
        return super().head_manifest(repository, reference)

    def _require_whole(self, repository: RepositoryName) -> None:
        if repository.name in self.broken:
            raise RegistryUnavailableError("GET: answered 500", cause="the registry answered 500")

    def heads(self) -> list[str]:
        """Return the tags that were looked at, in order."""
        return [call.reference for call in self.calls if call.method == "HEAD"]

    def _script(self, method: str, reference: str) -> None:
        self._reply(Call(method, reference), lambda: answer(200))


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def client(library: Library) -> RegistryClient:
    """The library, as the code takes it for the registry's client."""
    stand_in: Any = library
    return stand_in  # type: ignore[no-any-return]


@pytest.fixture
def connected(settings: Any) -> None:
    """A registry is connected, as far as the settings say."""
    settings.REGISTRY_URL = "http://registry.internal:5000"


@pytest.fixture
def gate(core: Core, library: Library) -> Core:
    """Acme, with all tags protected, before the library."""
    core.registry = library
    return core


@pytest.fixture
def unprotected(acme: Workspace, protect: Callable[..., Policy], library: Library) -> Core:
    """Acme, with no tags protected, before the library."""
    core = Core(acme, library, protect)
    if read_policy(acme).protection is not Protection.NONE:
        core.protect(Protection.NONE)
    return core


def locked() -> dict[str, str]:
    """Return the digests of locked tags by their names."""
    rows = LockedTag.objects.filter(state="locked").order_by("repository", "tag")
    return dict(rows.values_list("tag", "digest"))


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons ask in the test's own thread, which has its transaction."""

    @contextmanager
    def asking(registry: RegistryClient) -> Iterator[Asker]:
        yield Asker(registry)

    monkeypatch.setattr(comparison, "_asking", asking)
