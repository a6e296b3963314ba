"""What can happen to a workspace and its registry, and how often."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from immutability.actions.manage import NameAfter
from immutability.protection import Protection
from tests.immutability.gate.upstream import digest_of, image, index
from tests.immutability.late_registry import End, Interruption, Where

# One that the rule of the tests covers, and one that it does not.
TAGS = ("v1.0.0", "latest")
IMAGES = {"one": image("one"), "two": image("two"), "index": index(image("one"))}
NAMES = {digest_of(body): name for name, body in IMAGES.items()}
DIGESTS = {name: digest for digest, name in NAMES.items()}


@dataclass(frozen=True)
class Push:
    """A push of one tag, or by digest of several or none."""

    tags: tuple[str, ...]
    image: str


@dataclass(frozen=True)
class Delete:
    """A delete of a tag or of an image through the gate, by a member or by an admin."""

    target: str
    is_admin: bool = False


@dataclass(frozen=True)
class Save:
    """Somebody saves the settings."""

    protection: Protection


@dataclass(frozen=True)
class Release:
    """An admin releases a tag."""

    tag: str


@dataclass(frozen=True)
class Remove:
    """An admin deletes a tag, frees its name or drops its claim."""

    tag: str
    name_after: NameAfter


@dataclass(frozen=True)
class Resolve:
    """The worker resolves what is due."""


@dataclass(frozen=True)
class Stall:
    """What has not been sent takes so long that its lease ends, and the worker comes by."""


@dataclass(frozen=True)
class Land:
    """The registry carries out a late write."""

    which: int


Operation = Push | Delete | Save | Release | Remove | Resolve | Stall | Land


def _often(*often: Any, seldom: Any) -> st.SearchStrategy[Any]:
    """Return one of `often` three times out of four, so that what belongs together meets."""
    return st.one_of(*(3 * [st.sampled_from(often)]), seldom)


one_tag = _often(TAGS[0], seldom=st.sampled_from(TAGS))
one_image = _often("one", "two", seldom=st.sampled_from(sorted(IMAGES)))
pushes = st.builds(Push, st.tuples(one_tag), one_image)
pushes_by_digest = st.builds(Push, st.sampled_from([(), TAGS]), one_image)
deletes = st.builds(Delete, st.sampled_from([*TAGS, *sorted(IMAGES)]), st.booleans())
saves = st.builds(Save, st.sampled_from(Protection))
releases = st.builds(Release, one_tag)
removals = st.builds(Remove, one_tag, st.sampled_from(NameAfter))
landings = st.builds(Land, st.integers(0, 2))
work = st.sampled_from([Resolve(), Stall()])
# What people do, other than to push one tag.
changes = st.one_of(saves, saves, removals, removals, releases, deletes, pushes_by_digest)
operations = st.one_of(pushes, pushes, saves, removals, releases, deletes, landings, work)
interruptions = _often(
    None,
    seldom=st.builds(
        Interruption[Operation],
        st.sampled_from(Where),
        st.one_of(st.integers(1, 3), st.integers(1, 30)),
        st.one_of(st.none(), operations, operations),
    ),
)
ends = st.one_of(
    st.sampled_from([(), (), (End.LATE,), (End.ANSWER_LOST,)]),
    st.tuples(st.sampled_from(End)),
    st.lists(st.sampled_from(End), max_size=2),
)
reads_lost = _often((), seldom=st.lists(st.booleans(), max_size=2))

COVERED = TAGS[0]

# What went wrong once, each as operations with the ends of their writes.
STORIES: dict[str, tuple[tuple[Operation, tuple[End, ...]], ...]] = {
    "a push lands after its repetition": (
        (Push((COVERED,), "one"), (End.LATE,)),
        (Resolve(), ()),
        (Release(COVERED), ()),
        (Push((COVERED,), "two"), ()),
    ),
    "a delete lands after its repetition": (
        (Delete(COVERED), (End.LATE,)),
        (Resolve(), ()),
        (Push((COVERED,), "one"), ()),
    ),
    "a delete lands after an unprotected push": (
        (Save(Protection.NONE), ()),
        (Delete(COVERED), (End.LATE,)),
        (Resolve(), ()),
        (Push((COVERED,), "one"), ()),
        (Land(0), ()),
        (Save(Protection.ALL), ()),
    ),
    "a tag cannot be adopted while an unprotected push of it is open": (
        (Save(Protection.NONE), ()),
        (Push((COVERED,), "one"), (End.ANSWER_LOST,)),
        (Save(Protection.ALL), ()),
        (Delete(COVERED), ()),
    ),
    "an unprotected push lands after protection": (
        (Push((COVERED,), "one"), ()),
        (Save(Protection.NONE), ()),
        (Push((COVERED,), "two"), (End.LATE,)),
        (Save(Protection.ALL), ()),
        (Resolve(), ()),
        (Land(0), ()),
    ),
    "an admin's delete at the gate lands after its repetition": (
        (Push((COVERED,), "one"), ()),
        (Delete("one", is_admin=True), (End.LATE,)),
        (Resolve(), ()),
        (Push((COVERED,), "one"), ()),
    ),
    "the repetition of a delete that has landed is refused": (
        (Push((COVERED,), "one"), ()),
        (Save(Protection.NONE), ()),
        (Delete(COVERED), (End.ANSWER_LOST,)),
        (Resolve(), (End.REFUSED,)),
        (Save(Protection.ALL), ()),
    ),
}

# What may meet: what came before, an operation, and what interrupts it; None is its death.
MEETINGS: dict[str, tuple[tuple[Operation, ...], Operation, Operation | None]] = {
    "two images": ((), Push((COVERED,), "one"), Push((COVERED,), "two")),
    "an unprotected push and protection": (
        (Push((COVERED,), "one"), Save(Protection.NONE)),
        Push((COVERED,), "two"),
        Save(Protection.ALL),
    ),
    "an unprotected delete and protection": (
        (Push((COVERED,), "one"), Save(Protection.NONE)),
        Delete(COVERED),
        Save(Protection.ALL),
    ),
    "a delete and a push": ((), Delete(COVERED), Push((COVERED,), "one")),
    "a push and a delete": ((), Push((COVERED,), "one"), Delete(COVERED)),
    "an index and the delete of what it lists": ((), Push((COVERED,), "index"), Delete("one")),
    "a released tag and an admin": (
        (Push((COVERED,), "one"), Release(COVERED)),
        Push((COVERED,), "two"),
        Remove(COVERED, NameAfter.FREE),
    ),
    "a push and its death": ((), Push((COVERED,), "one"), None),
    "an admin's delete at the gate and a push": (
        (Push((COVERED,), "one"),),
        Delete("one", is_admin=True),
        Push((COVERED,), "one"),
    ),
    "an admin's delete at the gate and its death": (
        (Push((COVERED,), "one"),),
        Delete("one", is_admin=True),
        None,
    ),
    "an admin's delete of a tag at the gate and its death": (
        (Push((COVERED,), "one"),),
        Delete(COVERED, is_admin=True),
        None,
    ),
    "an admin's delete and its death": (
        (Push((COVERED,), "one"),),
        Remove(COVERED, NameAfter.RESERVE),
        None,
    ),
}
