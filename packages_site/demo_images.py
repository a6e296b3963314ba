"""Two small OCI images in the data folder, for any client that can push OCI layouts.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

IMAGES = ("one", "two")

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def make_demo_images(folder: Path) -> list[Path]:
    """Write the images that are missing into `folder`, and return their layouts."""
    layouts = [folder / name for name in IMAGES]
    for layout in layouts:
        if not (layout / "index.json").exists():
            _write_image(layout, f"This is image {layout.name}.\n".encode())
    return layouts


def _write_image(layout: Path, content: bytes) -> None:
    """Write an image with one file. The same content makes the same digests every time."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    tar = _tar("hello.txt", content)
    layer = _write_blob(blobs, _LAYER, gzip.compress(tar, mtime=0))
    config = _write_blob(
        blobs,
        _CONFIG,
        _to_json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [_digest(tar)]},
            }
        ),
    )
    manifest = _write_blob(
        blobs,
        _MANIFEST,
        _to_json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}),
    )
    (layout / "oci-layout").write_bytes(_to_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_to_json({"schemaVersion": 2, "manifests": [manifest]}))


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _write_blob(blobs: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    (blobs / digest.partition(":")[2]).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _to_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
