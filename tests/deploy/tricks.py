"""Requests that try to write a manifest past the gate; and where those belong that are none."""

import re

# What a registry may get, however it reads a path.
READ = re.compile(r"(GET|HEAD) /v2/([\w:+=-][\w.:+=-]*/)*([\w:+=-][\w.:+=-]*)?(\?.*)?")
PLAIN_UPLOAD = re.compile(r"[A-Za-z]+ /v2/[a-z0-9/]+/blobs/uploads/([\w=-][\w=.-]*)?(\?.*)?")

# Method, target, and who gets it.
ROUTES = [
    ("GET", "/v2/", "registry"),
    ("GET", "/v2/acme/api/manifests/v1", "registry"),
    ("HEAD", "/v2/acme/api/manifests/v1", "registry"),
    ("GET", "/v2/acme/api/tags/list?n=5&last=v1", "registry"),
    ("GET", "/v2/acme/api/blobs/sha256:aa", "registry"),
    ("POST", "/v2/acme/api/blobs/uploads/", "registry"),
    ("POST", "/v2/acme/api/blobs/uploads/?digest=sha256%3Aaa", "registry"),
    ("POST", "/v2/acme/manifests/b/blobs/uploads/", "registry"),
    ("PATCH", "/v2/acme/api/blobs/uploads/123?_state=a%2Bb%3D", "registry"),
    ("PUT", "/v2/acme/api/blobs/uploads/123?_state=x&digest=sha256%3Aaa", "registry"),
    ("DELETE", "/v2/acme/api/blobs/uploads/123", "registry"),
    ("POST", "/v2/nginx/blobs/uploads/", "registry"),
    ("PUT", "/v2/acme/api/manifests/v1", "gate"),
    ("PUT", "/v2/nginx/manifests/v1", "gate"),
    ("PUT", "/v2/acme/blobs/uploads/manifests/v1", "gate"),
    ("PUT", "/v2/acme/manifests/blobs/uploads/manifests/v1", "gate"),
    ("PUT", "/v2/acme/api/manifests/v1?/blobs/uploads/x", "gate"),
    ("PUT", "/v2/acme/api/manifests/sha256:aa?tag=a&tag=b", "gate"),
    ("DELETE", "/v2/acme/api/manifests/v1", "gate"),
    ("DELETE", "/v2/acme/blobs/sha256:aa/manifests/v1", "gate"),
    ("POST", "/v2/", "gate"),
    ("GET", "/auth/token?scope=repository:acme/api:pull", "site"),
    ("POST", "/api/v1/check-push", "site"),
    ("GET", "/acme/locked-tags/", "site"),
]

TRICKS = [
    ("PUT", "/v2/{repo}/manifests%2Fv1"),
    ("PUT", "/v2/{repo}%2Fmanifests%2Fv1"),
    ("PUT", "/v2/acme%2f{rest}/manifests/v1"),
    ("PUT", "/v2/{repo}/manif%65sts/v1"),
    ("PUT", "/v2/{repo}/manifests/%76%31"),
    ("PUT", "/v2/{repo}/manifests/v1%0a"),
    ("PUT", "/v2/{repo}/manifests/v1%00"),
    ("PUT", "/v2/{repo}/manifests/v1%20"),
    ("PUT", "/v2/{repo}/manifests/v1%3Fx"),
    ("PUT", "/v2/{repo}/manifests/v1%23"),
    ("PUT", "/v2/{repo}/manifests/v1#x"),
    ("PUT", "/v2/{repo}/manifests/v1/"),
    ("PUT", "/v2/{repo}/manifests//v1"),
    ("PUT", "/v2//{repo}/manifests/v1"),
    ("PUT", "//v2/{repo}/manifests/v1"),
    ("PUT", "/./v2/{repo}/manifests/v1"),
    ("PUT", "/v2/./{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/manifests/./v1"),
    ("PUT", "/v2/{repo}/manifests/x/../v1"),
    ("PUT", "/v2/{repo}/manifests/%2e/v1"),
    ("PUT", "/v2/{repo}/manifests/x/%2e%2e/v1"),
    ("PUT", "/v2/x/../{repo}/manifests/v1"),
    ("PUT", "/x/../v2/{repo}/manifests/v1"),
    ("PUT", "/x/%2e%2e/v2/{repo}/manifests/v1"),
    ("PUT", "/static/../v2/{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/%2e%2e/%2e%2e/manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x%2F..%2F..%2F..%2Fmanifests%2Fv1"),
    ("PUT", "/v2/{repo}/manifests/v1/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1?/blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1%3F/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1#/../../blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1%3F/blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1%00/blobs/uploads/x"),
    ("PUT", "/v2/{repo}/manifests/v1;/blobs/uploads/x"),
    ("PUT", "/v2/{repo}/blobs/uploads/x#/../../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x%23/../../../manifests/v1"),
    ("PUT", "/v2/{repo}/blobs/uploads/x;/../../../manifests/v1"),
    ("PUT", "/v2/{repo}\\manifests\\v1"),
    ("PUT", "/V2/{repo}/manifests/v1"),
    ("PUT", "/v2/{repo}/Manifests/v1"),
    ("PUT", "/v2/{upper}/manifests/v1"),
    ("PUT", "/v2/{repo}/manifests/v1?_method=GET&ref=v2"),
    ("PUT", "/v2/{repo}/manifests/v1?tag=v2"),
    ("PUT", "http://127.0.0.1/v2/{repo}/manifests/v1"),
    ("PUT", "http://elsewhere.example/v2/{repo}/manifests/v1"),
    ("PATCH", "/v2/{repo}/manifests/v1"),
    ("POST", "/v2/{repo}/manifests/v1"),
    ("POST", "/v2/{repo}/manifests/"),
    ("OPTIONS", "/v2/{repo}/manifests/v1"),
    ("MKCOL", "/v2/{repo}/manifests/v1"),
    ("put", "/v2/{repo}/manifests/v1"),
    ("Put", "/v2/{repo}/manifests/v1"),
    ("DELETE", "/v2/{repo}/manifests/v1"),
    ("DELETE", "/v2/{repo}/manifests/{digest}"),
    ("DELETE", "/v2/{repo}/manifests/sha256%3A{hex}"),
    ("DELETE", "/v2/{repo}//manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/uploads/../../manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/{digest}"),
    ("DELETE", "/v2/{repo}/blobs/x/../{digest}"),
    ("DELETE", "/v2/{repo}/blobs/../manifests/{digest}"),
    ("DELETE", "/v2/{repo}/blobs%2F{digest}"),
    ("GET", "/v2/{repo}/manifests/v1?_method=DELETE"),
]


def aim(target: str, name: str, digest: str) -> str:
    """Return a trick's target, at the manifest of a repository."""
    rest = name.partition("/")[2]
    return target.format(
        repo=name, rest=rest, upper=name.upper(), digest=digest, hex=digest.partition(":")[2]
    )
