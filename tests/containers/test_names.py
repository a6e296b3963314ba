"""Repositories, tags and digests against the grammar of the OCI distribution-spec."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from containers.names import (
    MAX_DIGEST_LENGTH,
    MAX_REPOSITORY_LENGTH,
    MAX_TAG_LENGTH,
    Digest,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_digest,
    parse_repository,
    parse_tag,
)

LOWER = "abcdefghijklmnopqrstuvwxyz"
UPPER = LOWER.upper()
DIGITS = "0123456789"

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


# The grammar once more, by hand and without regular expressions.


def is_component(text: str) -> bool:
    """Runs of lower-case letters and digits, joined by ".", "_", "__" or any number of "-"."""
    joint = ""
    has_run = False
    for character in text:
        if character in LOWER + DIGITS:
            if joint and not (has_run and _is_joint(joint)):
                return False
            joint = ""
            has_run = True
        else:
            joint += character
    return has_run and not joint


def _is_joint(text: str) -> bool:
    return text in (".", "_", "__") or set(text) == {"-"}


def is_repository(text: str) -> bool:
    components = text.split("/")
    return len(text) <= 255 and all(is_component(each) for each in components)


def is_tag(text: str) -> bool:
    letters = set(LOWER + UPPER + DIGITS + "_")
    return (
        1 <= len(text) <= 128
        and text[0] in letters
        and all(c in letters | {".", "-"} for c in text)
    )


def is_digest(text: str) -> bool:
    algorithm, colon, encoded = text.partition(":")
    if not colon or not encoded or len(text) > 256:
        return False
    runs = [""]
    for character in algorithm:
        if character in "+._-":
            runs.append("")
        else:
            runs[-1] += character
    if not all(run and set(run) <= set(LOWER + DIGITS) for run in runs):
        return False
    lengths = {"sha256": 64, "sha512": 128}
    if algorithm in lengths:
        return len(encoded) == lengths[algorithm] and set(encoded) <= set(DIGITS + "abcdef")
    return set(encoded) <= set(LOWER + UPPER + DIGITS + "=_-")


# Text made by the grammar, the same with a slip of the pen, and any text at all.

RUN = st.text(LOWER + DIGITS, min_size=1, max_size=8)
JOINT = st.one_of(st.sampled_from([".", "_", "__"]), st.text("-", min_size=1, max_size=4))
COMPONENT = st.tuples(RUN, st.lists(st.tuples(JOINT, RUN), max_size=3)).map(
    lambda parts: parts[0] + "".join(joint + run for joint, run in parts[1])
)
REPOSITORIES = st.lists(COMPONENT, min_size=2, max_size=5).map("/".join)
TAGS = st.tuples(
    st.sampled_from(LOWER + UPPER + DIGITS + "_"),
    st.text(LOWER + UPPER + DIGITS + "._-", max_size=127),
).map("".join)
ALGORITHM = st.tuples(RUN, st.lists(st.tuples(st.sampled_from("+._-"), RUN), max_size=2)).map(
    lambda parts: parts[0] + "".join(joint + run for joint, run in parts[1])
)
DIGESTS = st.one_of(
    st.binary(max_size=8).map(lambda content: "sha256:" + hashlib.sha256(content).hexdigest()),
    st.binary(max_size=8).map(lambda content: "sha512:" + hashlib.sha512(content).hexdigest()),
    st.tuples(ALGORITHM, st.text(LOWER + UPPER + DIGITS + "=_-", min_size=1, max_size=64))
    .map(":".join)
    .filter(lambda text: not text.startswith(("sha256:", "sha512:"))),
)
SLIPS = st.sampled_from(
    ["\n", "\r", "\t", " ", "\0", "/", "//", "..", "._", "___", "-", "_", ".", ":", "@", "%", "+",
     "A", "É", "é", "ß", "\u0663", "\uff11", "\u212a", "\u0130", "\ud800", "\U0001f600", "sha256:"]
)  # fmt: skip
ANYTHING = st.text(st.characters(categories=None), max_size=300)


def slipped(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Put something in, or take something out, at any place, the end above all."""

    def slip(parts: tuple[str, str, int, bool]) -> str:
        text, piece, place, takes_out = parts
        place = min(place, len(text))
        return text[:place] + ("" if takes_out else piece) + text[place + takes_out :]

    places = st.one_of(st.integers(0, 300), st.just(300))
    return st.tuples(texts, SLIPS, places, st.booleans()).map(slip)


@given(text=REPOSITORIES)
def test_every_repository_of_the_grammar_is_read_as_it_is(text: str) -> None:
    if len(text) <= MAX_REPOSITORY_LENGTH:
        assert parse_repository(text) == RepositoryName(text)


@given(text=TAGS)
def test_every_tag_of_the_grammar_is_read_as_it_is(text: str) -> None:
    assert parse_tag(text) == TagName(text)


@given(text=DIGESTS)
def test_every_digest_of_the_grammar_is_read_as_it_is(text: str) -> None:
    assert parse_digest(text) == Digest(text)


@given(text=st.one_of(slipped(REPOSITORIES), ANYTHING))
@example(text="a/b\n")
@example(text="a\u0663/b")
def test_a_repository_is_read_exactly_where_the_grammar_has_it(text: str) -> None:
    if is_repository(text):
        assert parse_repository(text).name == text
    else:
        with pytest.raises(InvalidReferenceError) as caught:
            parse_repository(text)
        check_error(caught.value, "NAME_INVALID")


@given(text=st.one_of(slipped(TAGS), ANYTHING))
@example(text="v1\n")
@example(text="")
def test_a_tag_is_read_exactly_where_the_grammar_has_it(text: str) -> None:
    if is_tag(text):
        assert parse_tag(text).name == text
    else:
        with pytest.raises(InvalidReferenceError) as caught:
            parse_tag(text)
        check_error(caught.value, "NAME_INVALID")


@given(text=st.one_of(slipped(DIGESTS), ANYTHING))
@example(text=SHA256 + "\n")
@example(text=":")
def test_a_digest_is_read_exactly_where_the_grammar_has_it(text: str) -> None:
    if is_digest(text):
        assert parse_digest(text).value == text
    else:
        with pytest.raises(InvalidReferenceError) as caught:
            parse_digest(text)
        check_error(caught.value, "DIGEST_INVALID")


def check_error(error: InvalidReferenceError, code: str) -> None:
    """An error can be printed and sent anywhere: one line of plain text, never very long."""
    assert error.code == code
    assert str(error) == error.message
    assert error.message.encode()
    assert error.message.isprintable()
    assert len(error.message) < 1200


@given(text=st.one_of(TAGS, slipped(TAGS), DIGESTS))
def test_a_reference_is_never_both_a_tag_and_a_digest(text: str) -> None:
    assert not (is_tag(text) and is_digest(text))
    read_as = 0
    for parse in (parse_tag, parse_digest):
        try:
            parse(text)
        except InvalidReferenceError:
            continue
        read_as += 1
    assert read_as <= 1


# The tables.


@pytest.mark.parametrize(
    "text",
    [
        "acme/api",
        "a/b",
        "0/0",
        "acme/team/api",
        "acme/a.b_c__d-e---f",
        "a--b/c",
        # Legal, and a trap for code that splits a path at the wrong place.
        "a/blobs/uploads",
        "a/manifests/b",
        "a/tags/list",
        "x/" + "a" * 253,
    ],
)
def test_what_is_a_repository(text: str) -> None:
    assert str(parse_repository(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "acme/",
        "/acme/api",
        "acme//api",
        "acme/../api",
        "acme/.",
        "acme/.api",
        "acme/api.",
        "acme/a..b",
        "acme/a___b",
        "acme/a._b",
        "acme/a_.b",
        "acme/a-_b",
        "acme/-a",
        "acme/a-",
        "acme/_a",
        "acme/API",
        "Acme/api",
        "acme/api\n",
        "\nacme/api",
        "acme/api ",
        " acme/api",
        "acme/a b",
        "acme/api:v1",
        "acme/api@sha256",
        "acme/a%2fb",
        "acme/a\\b",
        "acme/é",
        "acme/\u0663",
        "acme/\uff41",
        "acme/\u212a",
        "acme/a\0",
        "acme/\ud800",
    ],
)
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_repository(text)
    check_error(caught.value, "NAME_INVALID")


@pytest.mark.parametrize(
    ("name", "first"),
    [("acme/api", "acme"), ("acme/team/api", "acme"), ("a.b/c", "a.b"), ("nginx", "nginx")],
)
def test_the_first_part_ends_at_the_first_slash(name: str, first: str) -> None:
    assert parse_repository(name).first_part == first


@pytest.mark.parametrize(
    ("name", "prefix", "is_under"),
    [
        ("team/app", "team", True),
        ("team/sub/app", "team/sub", True),
        ("team", "team", True),
        ("team-x/app", "team", False),
        ("teams", "team", False),
        ("team", "team/app", False),
    ],
)
def test_a_prefix_ends_with_a_part(name: str, prefix: str, *, is_under: bool) -> None:
    assert parse_repository(name).is_under(prefix) is is_under


@pytest.mark.parametrize(
    "text",
    ["v1.2.0", "latest", "_", "a", "0", "A", "__", "_.", "a.", "a-", "a..b", "RC1", "x" * 128],
)
def test_what_is_a_tag(text: str) -> None:
    assert str(parse_tag(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1\n",
        "\nv1",
        "v1\r",
        "v1 ",
        " v1",
        "v 1",
        ".v1",
        "-v1",
        "v1/2",
        "v1:2",
        "v1@2",
        "v1+build",
        "v1%20",
        "é",
        "v\u0663",
        "v\uff11",
        "v\u0131",
        "v\u212a",
        "v\u200b1",
        "v1\0",
        "v1\ud800",
        SHA256,
    ],
)
def test_what_is_no_tag(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_tag(text)
    check_error(caught.value, "NAME_INVALID")


@pytest.mark.parametrize(
    "text",
    [
        SHA256,
        SHA512,
        "md5:x",
        "blake3:ABCdef==",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
        "a.b-c_d+e:_",
        "sha384:" + "a" * 96,
    ],
)
def test_what_is_a_digest(text: str) -> None:
    assert str(parse_digest(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        ":" + "a" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 63 + "\u0663",
        "sha256:" + "a" * 63 + "=",
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        SHA256 + "\n",
        " " + SHA256,
        SHA256 + ":x",
        "sha256-" + "a" * 64,
        "+a:b",
        "a+:b",
        "a++b:c",
        "a:b/c",
        "a:b+c",
        "a:é",
        "a:\ud800",
        "a:" + "b" * 255,
    ],
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_digest(text)
    check_error(caught.value, "DIGEST_INVALID")


# What a person reads.


def error_of_repository(text: str) -> str:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_repository(text)
    return caught.value.message


def error_of_tag(text: str) -> str:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_tag(text)
    return caught.value.message


def error_of_digest(text: str) -> str:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_digest(text)
    return caught.value.message


def test_an_error_names_the_repository() -> None:
    assert error_of_repository("Acme/api") == (
        '"Acme/api" is not a repository name: use lower-case letters and digits, separated by '
        "dots, underscores, hyphens and slashes."
    )


def test_an_error_names_the_tag() -> None:
    assert error_of_tag("v1+b") == (
        '"v1+b" is not a tag: use letters, digits, underscores, dots and hyphens, and begin with '
        "a letter, a digit or an underscore."
    )


def test_an_error_names_the_digest() -> None:
    assert error_of_digest("latest") == (
        '"latest" is not a digest: write an algorithm, a colon and the hash, like sha256: and 64 '
        "hexadecimal digits."
    )
    assert error_of_digest("sha256:abc") == (
        '"sha256:abc" is not a sha256 digest: 64 lower-case hexadecimal digits are needed after '
        "the colon, not these 3 characters."
    )
    assert error_of_digest("sha512:" + "A" * 5).endswith(
        "128 lower-case hexadecimal digits are needed after the colon, not these 5 characters."
    )


def test_an_error_names_the_limit() -> None:
    assert error_of_repository("a/" + "b" * 254) == (
        f"The repository name has 256 characters; at most {MAX_REPOSITORY_LENGTH} are allowed."
    )
    assert error_of_tag("a" * 129) == (
        f"The tag has 129 characters; at most {MAX_TAG_LENGTH} are allowed."
    )


def test_the_longest_names_are_accepted() -> None:
    assert parse_repository("a/" + "b" * (MAX_REPOSITORY_LENGTH - 2))
    assert parse_tag("a" * MAX_TAG_LENGTH)
    assert parse_digest("a:" + "b" * (MAX_DIGEST_LENGTH - 2))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("v1\n", '"v1\\n"'),
        ("v\u0663", '"v\\u0663"'),
        ("v\ud800", '"v\\ud800"'),
        ("v\x1b[31m", '"v\\x1b[31m"'),
        ("v\u202e1", '"v\\u202e1"'),
    ],
)
def test_an_error_escapes_what_is_not_plain(text: str, quoted: str) -> None:
    assert error_of_tag(text).startswith(f"{quoted} is not a tag")


def test_an_error_cuts_what_is_long() -> None:
    assert error_of_tag("!" * 100).startswith('"' + "!" * 80 + '…" is not a tag')


# Digests for people, and signature tags.


@pytest.mark.parametrize(
    ("digest", "short"),
    [
        (SHA256, "sha256:0123456789ab…"),
        (SHA512, "sha512:0123456789ab…"),
        ("md5:0123456789ab", "md5:0123456789ab"),
        ("md5:0123456789abc", "md5:0123456789ab…"),
    ],
)
def test_a_digest_is_short_for_people(digest: str, short: str) -> None:
    assert parse_digest(digest).short == short


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_what_is_a_signature_tag(suffix: str) -> None:
    assert parse_tag("sha256-" + "0a" * 32 + suffix).is_signature


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake3"])
def test_a_referrers_tag_of_another_algorithm_is_a_signature_tag_too(algorithm: str) -> None:
    assert parse_tag(f"{algorithm}-" + "0a" * 32).is_signature
    for suffix in (".sig", ".att", ".sbom", "0a"):
        assert not parse_tag(f"{algorithm}-" + "0a" * 32 + suffix).is_signature


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "sha256",
        "sha256-",
        "sha256-" + "0" * 63,
        "sha256-" + "0" * 65,
        "sha256-" + "A" * 64,
        "sha256-" + "g" * 64,
        "sha512-" + "0" * 63,
        "sha512-" + "A" * 64,
        "md5-" + "0" * 64,
        "release-" + "0" * 64,
        "SHA256-" + "0" * 64,
        "sha256-" + "0" * 64 + ".",
        "sha256-" + "0" * 64 + ".SIG",
        "sha256-" + "0" * 64 + ".sig2",
        "sha256-" + "0" * 64 + ".sig.sig",
        "sha256-" + "0" * 64 + "-sig",
        "a-sha256-" + "0" * 64,
    ],
)
def test_what_is_no_signature_tag(tag: str) -> None:
    assert not parse_tag(tag).is_signature


def test_names_are_sorted_by_their_characters() -> None:
    assert [
        tag.name for tag in sorted([TagName("b"), TagName("a"), TagName("B"), TagName("_")])
    ] == [
        "B",
        "_",
        "a",
        "b",
    ]
