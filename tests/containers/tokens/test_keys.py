"""A key and its certificate."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from containers.tokens.keys import KEY_ID_LENGTH, make_key, parse_signing_key, parse_trusted_key


def make_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> tuple[bytes, str]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_both_halves_of_a_key_have_its_thumbprint() -> None:
    made = make_key()
    signing = parse_signing_key(made.private_key, made.certificate)
    trusted = parse_trusted_key(made.certificate)
    assert made.id == signing.id == trusted.id
    assert len(made.id) == KEY_ID_LENGTH


def test_the_certificate_is_valid_now_for_clocks_that_are_behind_and_for_years() -> None:
    certificate = x509.load_pem_x509_certificate(make_key().certificate.encode())
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc <= now - timedelta(hours=23)
    assert certificate.not_valid_after_utc >= now + timedelta(days=3600)


@pytest.mark.parametrize(
    ("private_key", "certificate"),
    [
        (b"", ""),
        (b"nonsense", "nonsense"),
        (b"\xff\x00", "\xff\x00"),
        make_pem(rsa.generate_private_key(65537, 2048)),
        make_pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["empty", "text", "bytes", "RSA", "P-384"],
)
def test_what_is_no_key_is_an_error(private_key: bytes, certificate: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of two libraries, with words of theirs)
        parse_signing_key(private_key, certificate)
    with pytest.raises(ValueError):  # noqa: PT011
        parse_trusted_key(certificate)
