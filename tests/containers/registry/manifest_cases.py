"""Manifests as clients and attackers may write them, for our reader and for real registries."""

import json
from dataclasses import dataclass

from tests.services.registry_user import CONFIG_TYPE, IMAGE_TYPE, INDEX_TYPE, digest_of

DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

CONFIG_BLOB, LAYER_BLOB = b"{}", b"layer"
LONG_S, KELVIN = "\N{LATIN SMALL LETTER LONG S}", "\N{KELVIN SIGN}"


def _describe(blob: bytes, media_type: str) -> str:
    return json.dumps({"mediaType": media_type, "digest": digest_of(blob), "size": len(blob)})


CONFIG, LAYER = _describe(CONFIG_BLOB, CONFIG_TYPE), _describe(LAYER_BLOB, "application/x-own")
# An image that the registry has before, as a manifest and as a blob.
IMAGE = f'{{"schemaVersion":2,"mediaType":"{IMAGE_TYPE}","config":{CONFIG},"layers":[]}}'.encode()
A = digest_of(IMAGE)
CHILD = _describe(IMAGE, IMAGE_TYPE)
# One that it does not have.
B = "sha256:" + 64 * "0"


@dataclass(frozen=True)
class Case:
    """A manifest, and the children that our reader finds; None where it refuses the manifest.

    `why` is given for what our reader refuses although registries take it.
    """

    name: str
    body: bytes
    children: tuple[str, ...] | None = ()
    media_type: str = INDEX_TYPE
    why: str = ""


def _index(entries: str = CHILD, rest: str = "") -> bytes:
    return f'{{"schemaVersion":2,"manifests":[{entries}]{rest}}}'.encode()


def _image(config: str = CONFIG, layers: str = f"[{LAYER}]", rest: str = "") -> bytes:
    return f'{{"schemaVersion":2,"config":{config},"layers":{layers}{rest}}}'.encode()


def _docker(media_type: str, rest: str) -> bytes:
    return f'{{"schemaVersion":2,"mediaType":"{media_type}"{rest}}}'.encode()


def _extra(value: str) -> bytes:
    return _index(rest=f',"x":{value}')


def _entry(value: str) -> bytes:
    return _index(f'{{"digest":{value}}}')


def _lone(key: str) -> bytes:
    return f'{{"schemaVersion":2,"{key}":[{CHILD}]}}'.encode()


def _annotated(value: bytes) -> bytes:
    return _index(rest=',"annotations":{"a":"@"}').replace(b"@", value)


NULL_OR_ABSENT = [
    Case("an index", _index(), (A,)),
    Case("an empty index", _index("")),
    Case("an index of null", b'{"schemaVersion":2,"manifests":null}'),
    Case("an index without a list", b'{"schemaVersion":2}'),
    Case("null beside the list", _index(rest=',"config":null,"layers":null'), (A,)),
    Case("a null subject", _index(rest=',"subject":null'), (A,)),
    Case("null annotations", _index(rest=',"annotations":null'), (A,)),
    Case("a null media type", _index(rest=',"mediaType":null'), (A,)),
    Case("an image", _image(), (), IMAGE_TYPE),
    Case("null layers", _image(layers="null"), (), IMAGE_TYPE),
    Case("no layers", _image(layers="0").replace(b',"layers":0', b""), (), IMAGE_TYPE),
    Case("null manifests in an image", _image(rest=',"manifests":null'), (), IMAGE_TYPE),
    Case("a null config", _image(config="null"), None, IMAGE_TYPE),
    Case("no config", b'{"schemaVersion":2,"layers":[]}', None, IMAGE_TYPE),
    Case(
        "Docker: null layers",
        _docker(DOCKER_IMAGE, f',"config":{CONFIG},"layers":null'),
        (),
        DOCKER_IMAGE,
    ),
    Case("Docker: no layers", _docker(DOCKER_IMAGE, f',"config":{CONFIG}'), (), DOCKER_IMAGE),
    Case("Docker: no config", _docker(DOCKER_IMAGE, ',"layers":[]'), None, DOCKER_IMAGE),
    Case("Docker: null manifests", _docker(DOCKER_LIST, ',"manifests":null'), (), DOCKER_LIST),
    Case("Docker: no manifests", _docker(DOCKER_LIST, ""), (), DOCKER_LIST),
]

REFERENCES = [
    Case("the same child twice", _index(f"{CHILD},{CHILD}"), (A,)),
    Case("a digest alone", _entry(f'"{A}"'), (A,)),
    Case("a digest with escapes", _entry(f'"\\u0073{A[1:]}"'), (A,)),
    Case("a list within an entry", _entry(f'"{A}","manifests":[{{"digest":"{B}"}}]'), (A,)),
    Case("Docker's list", _docker(DOCKER_LIST, f',"manifests":[{CHILD}]'), (A,), DOCKER_LIST),
    Case(
        "Docker's list that is an image too",
        _docker(DOCKER_LIST, f',"manifests":[{CHILD}],"config":{CONFIG},"layers":[{LAYER}]'),
        (A,),
        DOCKER_LIST,
    ),
    Case(
        "Docker's image that is a list too",
        _docker(DOCKER_IMAGE, f',"manifests":[{CHILD}],"config":{CONFIG},"layers":[]'),
        (A,),
        DOCKER_IMAGE,
    ),
    Case("a layer that is a manifest", _image(layers=f"[{CHILD}]"), (A,), IMAGE_TYPE),
    Case("a config that is a manifest", _image(config=CHILD), (A,), IMAGE_TYPE),
    Case("a subject", _image(rest=f',"subject":{CHILD}'), (), IMAGE_TYPE),
    Case("blobs that are manifests", _image(rest=f',"blobs":[{CHILD}]'), (A,), IMAGE_TYPE),
    Case("a layer from elsewhere", _image(layers='[{"urls":["http://a"]}]'), (), IMAGE_TYPE),
    Case("a media type in capitals", _index(), (A,), INDEX_TYPE.upper()),
    Case("a media type with a parameter", _index(), (A,), f"{INDEX_TYPE}; charset=utf-8"),
    *(
        Case(f"an entry: {entry}", _index(entry), None)
        for entry in ("null", "{}", "5", "[]", '"x"', '{"size":1}', f"{CHILD},null")
    ),
    *(
        Case(f"a digest: {value[:24]}", _entry(value), None)
        for value in (
            "null",
            "5",
            f'["{A}"]',
            '""',
            '"v1"',
            '"sha256:aa"',
            f'"{A.upper()}"',
            f'"sha256:{A[7:].upper()}"',
            f'"{A}\\n"',
            f'" {A}"',
            f'"{A}\\ud800"',
            f'"foo:{A[7:]}"',
            f'"sha256+b64u:{A[7:]}"',
        )
    ),
    *(
        Case(f"manifests: {value}", f'{{"schemaVersion":2,"manifests":{value}}}'.encode(), None)
        for value in ("{}", "5", '"x"', "true", "[[]]")
    ),
    *(
        Case(f"config: {value}", _image(config=value), None, IMAGE_TYPE)
        for value in ("{}", "[]", '"x"', "5", '{"digest":"x"}', '{"digest":"sha256:aa"}')
    ),
    *(
        Case(f"layers: {value}", _image(layers=value), None, IMAGE_TYPE)
        for value in ("{}", "5", "[null]", "[{}]", "[5]", '[{"digest":"sha256:aa"}]')
    ),
    Case(
        "Docker's image with manifests of another shape",
        _docker(DOCKER_IMAGE, f',"manifests":5,"config":{CONFIG},"layers":[]'),
        None,
        DOCKER_IMAGE,
        "a client that goes by the keys may read it",
    ),
    *(
        Case(
            f"subject: {value}",
            _index(rest=f',"subject":{value}'),
            None,
            why="a registry that knows subjects may read it",
        )
        for value in ("5", "{}", "[]", '"x"', '{"digest":"x"}', '{"digest":"sha256:aa"}')
    ),
]

_OTHERWISE = "registries and libraries read it in different ways"

SPELLINGS = [
    Case("keys of annotations", _index(rest=',"annotations":{"Digest":"x","Config":"y"}'), (A,)),
    Case("a key that Go does not fold", _index(rest=',"con\ufb01g":{},"dIgest_":1'), (A,)),
    *(
        Case(f"key: {key}", _index(f'{{"digest":"{B}","{key}":"{A}"}}'), None, why=_OTHERWISE)
        for key in ("Digest", "DIGEST", "dIGEST", f"dige{LONG_S}t", "dige\\u017ft", "\\u0044igest")
    ),
    *(
        Case(
            f"alone: {key}",
            f'{{"schemaVersion":2,"{key}":[{CHILD}]}}'.encode(),
            None,
            why=_OTHERWISE,
        )
        for key in ("Manifests", "MANIFESTS", f"manife{LONG_S}ts", f"Manifest{LONG_S}")
    ),
    *(
        Case(f"beside: {key}", _index(rest=f',"{key}":{value}'), None, why=_OTHERWISE)
        for key, value in (
            ("MANIFESTS", "[]"),
            ("MediaType", f'"{INDEX_TYPE}"'),
            ("SchemaVersion", "2"),
            ("Subject", CHILD),
            ("Annotations", "{}"),
            ("x", '{"y":[{"Digest":"z"}]}'),
        )
    ),
    *(
        Case(f"in an image: {key}", _image(rest=f',"{key}":{value}'), None, IMAGE_TYPE, _OTHERWISE)
        for key, value in (("Layers", "[]"), (f"layer{LONG_S}", "[]"), ("Config", LAYER))
    ),
    Case("a Kelvin sign", _index(rest=f',"{KELVIN}":1'), (A,)),
    *(
        Case(f"twice: {name}", body, None, why=_OTHERWISE)
        for name, body in (
            ("digest", _index(f'{{"digest":"{B}","digest":"{A}"}}')),
            ("digest, escaped", _index(f'{{"digest":"{B}","\\u0064igest":"{A}"}}')),
            ("manifests", _index(rest=',"manifests":[]')),
            ("manifests, the first empty", _index("", f',"manifests":[{CHILD}]')),
            ("an annotation", _index(rest=',"annotations":{"a":"x","a":"y"}')),
            ("at depth", _extra('[{"y":{"a":1,"a":2}}]')),
        )
    ),
]

_NO_JSON = "JSON between systems is UTF-8 (RFC 8259, 8.1)"
_DEEP = "it could exhaust the stack"

TEXT = [
    Case("white space", b"\n\t " + _index() + b" \r\n\t", (A,)),
    Case("half a surrogate pair", _annotated(b"\\ud800"), (A,)),
    Case("DEL and a line separator", _annotated("\x7f\u2028".encode()), (A,)),
    *(
        Case(f"a number: {value[:9]}", _extra(value), (A,))
        for value in (5000 * "9", "-" + 20 * "9", "1e400", "0." + 5000 * "1", "-0", "1E5")
    ),
    *(
        Case(f"no value: {value}", _extra(value), None)
        for value in ("NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "True", "'x'", "[1,]")
    ),
    Case("a mark of the byte order", b"\xef\xbb\xbf" + _index(), None),
    *(
        Case(encoding, _index().decode().encode(encoding), None)
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
    ),
    *(
        Case(f"not UTF-8: {value!r}", _annotated(value), None, why=_NO_JSON)
        for value in (b"\xff", b"\xed\xa0\x80", b"\xc0\xaf")
    ),
    Case("not UTF-8 in a key", _index(rest=',"@":1').replace(b"@", b"\xff"), None, why=_NO_JSON),
    *(
        Case(f"behind the end: {rest!r}", _index() + rest, None)
        for rest in (b"x", b"{}", b"\f", b"\0", b"\xc2\xa0")
    ),
    *(Case(f"within a string: {value!r}", _annotated(value), None) for value in (b"\0", b"\t")),
    *(
        Case(f"no object: {body.decode()}", body, None)
        for body in (b"", b"null", b"[]", b"5", b'"x"', b"{", b'{"manifests": [')
    ),
    Case("98 levels in two", _extra(98 * "[" + 98 * "]"), (A,)),
    Case("wide, not deep", _extra("[" + ",".join(5000 * ["[[]]"]) + "]"), (A,)),
    Case("brackets in a string", _annotated(500 * b'[{\\"'), (A,)),
    *(
        Case(f"{levels} lists deep", _extra(levels * "[" + levels * "]"), None, why=_DEEP)
        for levels in (101, 990, 1500, 9990)
    ),
    Case("objects deep", _extra(5000 * '{"a":' + "1" + 5000 * "}"), None, why=_DEEP),
    Case("too deep for Go too", _extra(100_000 * "[" + 100_000 * "]"), None),
    Case("deep without an end", b'{"manifests":' + 100_000 * b"[", None),
    Case("a string without an end", b'{"a":"' + 1_000_000 * b'\\"[', None),
]

CASES = NULL_OR_ABSENT + REFERENCES + SPELLINGS + TEXT
