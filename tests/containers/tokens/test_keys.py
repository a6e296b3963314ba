"""The keys in their folder: made once, changed without a moment in which no token is believed."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from containers.tokens.keys import CURRENT, NEXT, TRUSTED, KeyFileError, KeyFolder
from containers.tokens.tokens import TAGLOCK, InvalidTokenError, read_token, sign_token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path) -> KeyFolder:
    keys = KeyFolder(folder)
    keys.make_first_key()
    return keys


def sign(keys: KeyFolder) -> str:
    return sign_token(keys, TAGLOCK, [], int(time.time()))


def is_believed(token: str, keys: KeyFolder) -> bool:
    try:
        read_token(token, keys)
    except InvalidTokenError:
        return False
    return True


def test_the_first_key_is_made_on_demand(folder: Path) -> None:
    keys = KeyFolder(folder)
    keys.make_first_key()
    assert is_believed(sign(keys), keys)
    assert sorted(path.name for path in folder.iterdir()) == [CURRENT, TRUSTED]


@pytest.mark.parametrize(
    "use",
    [
        KeyFolder.read_signing_key,
        KeyFolder.read_trusted_keys,
        KeyFolder.require_first_key,
        KeyFolder.prepare_next_key,
        KeyFolder.retire_old_keys,
    ],
)
def test_using_keys_makes_none(folder: Path, use: Callable[[KeyFolder], object]) -> None:
    with pytest.raises(KeyFileError, match=r"manage\.py migrate makes the first one"):
        use(KeyFolder(folder))
    assert not folder.exists()


def test_the_private_key_is_its_owners_alone_and_the_bundle_is_for_the_registry(
    keys: KeyFolder, folder: Path
) -> None:
    keys.prepare_next_key()
    assert [(folder / name).stat().st_mode & 0o777 for name in (CURRENT, NEXT)] == [0o600, 0o600]
    assert (folder / TRUSTED).stat().st_mode & 0o777 == 0o644
    assert folder.stat().st_mode & 0o777 == 0o711
    assert b"PRIVATE" not in (folder / TRUSTED).read_bytes()


def test_a_key_that_is_there_stays(keys: KeyFolder, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = KeyFolder(folder)
    again.make_first_key()
    assert is_believed(sign(keys), again)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_processes_that_start_together_agree_on_one_key(folder: Path) -> None:
    nodes = [KeyFolder(folder) for _ in range(8)]

    def make_and_sign(node: KeyFolder) -> str:
        node.make_first_key()
        return sign(node)

    with ThreadPoolExecutor(len(nodes)) as pool:
        tokens = list(pool.map(make_and_sign, nodes))
    assert all(is_believed(token, KeyFolder(folder)) for token in tokens)
    assert (
        len({KeyFolder(folder).read_signing_key().id, *(n.read_signing_key().id for n in nodes)})
        == 1
    )


def test_a_crash_between_key_and_bundle_is_mended(keys: KeyFolder, folder: Path) -> None:
    token = sign(keys)
    (folder / TRUSTED).unlink()
    keys.make_first_key()
    assert is_believed(token, KeyFolder(folder))


def test_a_lost_private_key_is_said_and_not_replaced_by_one_that_nobody_believes(
    keys: KeyFolder, folder: Path
) -> None:
    (folder / CURRENT).unlink()
    with pytest.raises(KeyFileError, match=r"current\.pem is lost"):
        sign(KeyFolder(folder))
    (folder / TRUSTED).unlink()
    keys.make_first_key()
    assert is_believed(sign(KeyFolder(folder)), keys)


def test_the_certificate_is_valid_now_for_clocks_that_are_behind_and_for_years(
    keys: KeyFolder, folder: Path
) -> None:
    [certificate] = x509.load_pem_x509_certificates((folder / TRUSTED).read_bytes())
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc <= now - timedelta(hours=23)
    assert certificate.not_valid_after_utc >= now + timedelta(days=3600)


# A change of keys.


def test_tokens_of_old_and_new_key_are_believed_throughout_a_change(keys: KeyFolder) -> None:
    other_node = KeyFolder(keys.folder)
    old = sign(keys)
    keys.prepare_next_key()
    still_old = sign(other_node)
    keys.use_next_key()
    new = sign(other_node)
    assert all(is_believed(token, other_node) for token in (old, still_old, new))
    keys.retire_old_keys()
    assert [is_believed(token, other_node) for token in (old, still_old, new)] == [
        False,
        False,
        True,
    ]


def test_a_registry_that_was_restarted_after_preparing_believes_the_new_key(
    keys: KeyFolder, folder: Path
) -> None:
    keys.prepare_next_key()
    bundle = (folder / TRUSTED).read_bytes()
    keys.use_next_key()
    new = x509.load_pem_x509_certificates((folder / CURRENT).read_bytes())[0]
    assert new in x509.load_pem_x509_certificates(bundle)


def test_every_step_can_be_taken_again(keys: KeyFolder, folder: Path) -> None:
    keys.prepare_next_key()
    prepared = (folder / NEXT).read_bytes()
    keys.prepare_next_key()
    assert (folder / NEXT).read_bytes() == prepared
    keys.use_next_key()
    keys.retire_old_keys()
    keys.retire_old_keys()
    assert is_believed(sign(keys), keys)


def test_a_crash_after_the_next_key_was_written_is_mended_by_preparing_again(
    keys: KeyFolder, folder: Path
) -> None:
    bundle = (folder / TRUSTED).read_bytes()
    keys.prepare_next_key()
    (folder / TRUSTED).write_bytes(bundle)
    keys.prepare_next_key()
    keys.use_next_key()
    assert is_believed(sign(keys), keys)


def test_steps_that_are_not_due_are_refused(keys: KeyFolder) -> None:
    with pytest.raises(KeyFileError, match="prepare one first"):
        keys.use_next_key()
    keys.prepare_next_key()
    with pytest.raises(KeyFileError, match="use it first"):
        keys.retire_old_keys()


# Files that are not as they should be.


def make_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("name", [CURRENT, TRUSTED])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff\x00",
        make_pem(rsa.generate_private_key(65537, 2048)),
        make_pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "text", "bytes", "RSA", "P-384"],
)
def test_a_file_that_is_no_key_is_named(folder: Path, name: str, content: bytes) -> None:
    KeyFolder(folder).make_first_key()
    (folder / name).write_bytes(content)
    keys = KeyFolder(folder)
    read = keys.read_signing_key if name == CURRENT else keys.read_trusted_keys
    with pytest.raises(KeyFileError, match=name):
        read()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="file/keys"):
        KeyFolder(tmp_path / "file" / "keys").make_first_key()


def test_a_file_is_read_again_when_it_was_replaced(keys: KeyFolder, folder: Path) -> None:
    before = keys.read_signing_key().id
    other = KeyFolder(folder.parent / "other")
    other.make_first_key()
    os.replace(other.folder / CURRENT, folder / CURRENT)
    assert keys.read_signing_key().id != before
