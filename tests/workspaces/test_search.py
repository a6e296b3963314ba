"""What people paste into a search box for tags, and what is looked for then."""

import pytest

from workspaces.search import MAX_SEARCH_LENGTH, TagSearch, parse_search

HEX = "ab12cd34" * 8
DIGEST = f"sha256:{HEX}"
REFUSAL = (
    'tag "v1.2.0" of acme/api cannot be overwritten because the tag is immutable: it is locked to '
    'sha256:aaaaaaaaaaaa… since 2026-05-01 10:00 UTC by rule "Release versions" (pushed by dana). '
    "Your push was sha256:bbbbbbbbbbbb…. Push a new tag, or ask an admin of acme. "
    "https://tags.example.com/acme/lock-log/0123456789AB"
)

NAMES = {
    # A part of a name.
    "v1.2": "v1.2",
    " v1.2\n": "v1.2",
    "v1.": "v1.",
    "API": "API",
    "acme/api": "acme/api",
    "face": "face",
    "release-ab12cd34": "release-ab12cd34",
    f"sha256-{HEX}.sig": f"sha256-{HEX}.sig",
    "acme": "acme",
    "100%": "100%",
    "": "",
    # Repository and tag.
    "acme/api:v1.2.0": "acme/api:v1.2.0",
    "api:v1.2": "api:v1.2",
    "api:": "api:",
    ":v1": ":v1",
    "acme/api v1.2.0": "acme/api:v1.2.0",
    "acme/api\tv1.2.0": "acme/api:v1.2.0",
    "api v1": "api:v1",
    '"acme/api:v1.2.0"': "acme/api:v1.2.0",
    "`acme/api:v1.2.0`,": "acme/api:v1.2.0",
    # With the registry's address.
    "registry.example.com/acme/api:v1.2.0": "acme/api:v1.2.0",
    "Registry.Example.com:5000/acme/api:v1.2.0": "acme/api:v1.2.0",
    "registry.example.com/acme/api": "acme/api",
    "localhost:8000/acme/api:v1.2.0": "acme/api:v1.2.0",
    "localhost/acme/api": "acme/api",
    "registry:5000/acme/api:v1": "acme/api:v1",
    "127.0.0.1:8000/acme/team/api:v1": "acme/team/api:v1",
    "docker://localhost:8000/acme/api:v1": "acme/api:v1",
    "oci://registry.example.com/acme/chart:1.0.0": "acme/chart:1.0.0",
    # Commands, and what they print.
    "docker push localhost:8000/acme/api:v1.2.0": "acme/api:v1.2.0",
    "$ docker pull registry.example.com/acme/api:v1": "acme/api:v1",
    "FROM registry.example.com/acme/api:v1 AS build": "acme/api:v1",
    "The push refers to repository [localhost:8000/acme/api]": "acme/api",
    "skopeo copy docker://docker.io/library/alpine:3.22 docker://tags.example.com/acme/alpine:3": (
        "acme/alpine:3"
    ),
    # Addresses.
    "https://tags.example.com/acme/repositories/acme/api:v1.2.0/": "acme/api:v1.2.0",
    "https://tags.example.com/acme/repositories/acme/team/api/": "acme/team/api:",
    "https://tags.example.com/v2/acme/api/manifests/v1.2.0": "acme/api:v1.2.0",
    "PUT /v2/acme/api/manifests/v1.2.0 403": "acme/api:v1.2.0",
    # Taglock's messages, as they are and as clients print them.
    REFUSAL: "acme/api:v1.2.0",
    f"denied: {REFUSAL}": "acme/api:v1.2.0",
    REFUSAL.replace('"', '\\"'): "acme/api:v1.2.0",
    f"{DIGEST} cannot be deleted because tag \"v1\" of acme/api is immutable": "acme/api:v1",
    'acme/api has no tag "v9".': "acme/api:v9",
    "acme/api:v1.2.0 is released: its next push can bring any image.": "acme/api:v1.2.0",
    "bob's push of acme/api:v1.2.0 was refused.": "acme/api:v1.2.0",
    f"acme/api:v1.2.0 was not deleted: it is locked to {DIGEST}": "acme/api:v1.2.0",
    "nothing that anyone knows": "nothing that anyone knows",
}  # fmt: skip
DIGESTS = {
    DIGEST: DIGEST,
    DIGEST.upper(): DIGEST,
    f"@{DIGEST}": DIGEST,
    "sha256:ab12": "sha256:ab12",
    "sha256:": "sha256:",
    "sha256:ab12cd34ab12…": "sha256:ab12cd34ab12",
    "sha256:ab12cd34ab12...": "sha256:ab12cd34ab12",
    "ab12cd34ab12…": "sha256:ab12cd34ab12",
    f"sha512:{HEX}{HEX}": f"sha512:{HEX}{HEX}",
    f"v1.2.0: digest: {DIGEST} size: 1234": DIGEST,
    "Digest: sha256:ab12cd34ab12…": "sha256:ab12cd34ab12",
}


@pytest.mark.parametrize(("text", "name"), NAMES.items())
def test_a_name_is_read_from_what_is_pasted(text: str, name: str) -> None:
    assert parse_search(text) == TagSearch(name)


@pytest.mark.parametrize(("text", "digest"), DIGESTS.items())
def test_a_digest_is_read_from_what_is_pasted(text: str, digest: str) -> None:
    assert parse_search(text) == TagSearch(digest=digest)


@pytest.mark.parametrize(
    ("text", "search"),
    [
        (f"acme/api@{DIGEST}", TagSearch("acme/api", DIGEST)),
        (f"tags.example.com/acme/api@{DIGEST}", TagSearch("acme/api", DIGEST)),
        (f"docker pull tags.example.com/acme/api@{DIGEST}", TagSearch("acme/api", DIGEST)),
        (f"acme/api:v1@{DIGEST}", TagSearch("acme/api:v1", DIGEST)),
        ("acme/api@sha256:ab12…", TagSearch("acme/api", "sha256:ab12")),
        (
            f"https://tags.example.com/v2/acme/api/manifests/{DIGEST}",
            TagSearch("acme/api", DIGEST),
        ),
    ],
)
def test_repository_and_digest_both_have_to_match(text: str, search: TagSearch) -> None:
    assert parse_search(text) == search


@pytest.mark.parametrize("digits", ["ab12cd34", "AB12CD34", "20261128", HEX, "deadbeef"])
def test_hexadecimal_digits_are_a_part_of_a_name_or_begin_a_digest(digits: str) -> None:
    assert parse_search(digits) == TagSearch(digits, f"sha256:{digits.lower()}", is_either=True)


def test_so_many_digits_begin_a_longer_digest() -> None:
    assert parse_search(HEX * 2) == TagSearch(HEX * 2, f"sha512:{HEX * 2}", is_either=True)


def test_a_whole_refusal_fits() -> None:
    longest = REFUSAL.replace("v1.2.0", "v" * 128).replace("acme/api", "acme/" + "a" * 250)
    assert len(longest) <= MAX_SEARCH_LENGTH


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("v1.2", True),
        ("V1.2", True),
        ("API", True),
        ("api:v1.2", True),
        ("web:v1.2", False),
        ("api:1.2", False),
        ("ACME/API:V1.2.0", True),
        (DIGEST, True),
        ("sha256:ab12", True),
        ("sha256:b12c", False),
        ("ab12cd34", True),
        (f"acme/api@{DIGEST}", True),
        (f"acme/web@{DIGEST}", False),
        ("acme/api@sha256:cc", False),
        ("", True),
    ],
)
def test_a_tag_matches(text: str, *, is_found: bool) -> None:
    assert parse_search(text).matches("acme/api", "v1.2.0-rc1", DIGEST) is is_found


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [("acme/api:v1", "acme/api", "v1"), ("api:", "api", ""), (":v1", "", "v1"), ("v1", "", "")],
)
def test_a_colon_says_what_is_repository_and_what_is_tag(
    text: str, repository: str, tag: str
) -> None:
    search = parse_search(text)
    assert (search.repository_end, search.tag_start) == (repository, tag)
