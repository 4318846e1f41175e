"""The authorities that may have signed a server's certificate, as each system keeps theirs."""

from __future__ import annotations

import importlib
import os
import re
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from wreq import CertStore

from tinker_sidecar.engine.failures import connection_error

__all__ = ["trusted_authorities"]

_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
_KEYCHAINS = (
    "/System/Library/Keychains/SystemRootCertificates.keychain",
    "/Library/Keychains/System.keychain",
)

_NO_CERTIFICATES = (
    "cannot check the certificate of an https server: this system has no certificates of authorities; "
    "install its ca-certificates, or the package certifi, or set SSL_CERT_FILE to a file of them"
)

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def trusted_authorities(file: str | None) -> CertStore:
    """Those in `file`, the user's `SSL_CERT_FILE`, and in `SSL_CERT_DIR`; without either, the system's.

    What cannot be read is passed over. Raises `EngineError` where there are none, or none in `file`.
    """
    folders = os.environ.get("SSL_CERT_DIR")
    found = _those_in(file) if file else []
    if folders:
        found += _in_folders(folders)
    elif not file:
        found = _systems()
    found = list(dict.fromkeys(found or _certifis()))
    try:
        return CertStore.from_pem_stack(b"\n".join(found))
    except Exception:  # noqa: BLE001  # It does not say which one it is.
        return CertStore.from_pem_stack(b"\n".join([one for one in found if _is_readable(one)]))


def _those_in(file: str) -> list[bytes]:
    try:
        certificates = _CERTIFICATE.findall(Path(file).read_bytes())
    except OSError:
        raise connection_error(f"SSL_CERT_FILE is {file!r}, which cannot be read") from None
    if not any(map(_is_readable, certificates)):
        raise connection_error(
            f"SSL_CERT_FILE is {file!r}, which has no certificate in it, in the form called PEM"
        )
    return certificates


def _is_readable(certificate: bytes) -> bool:
    try:
        CertStore.from_pem_stack(certificate)
    except Exception:  # noqa: BLE001
        return False
    return True


def _systems() -> list[bytes]:
    """Where this system has them."""
    if sys.platform == "darwin":
        return _keychains()
    usual = ssl.get_default_verify_paths()
    for file in (usual.openssl_cafile, *_FILES):
        with suppress(OSError):
            if certificates := _CERTIFICATE.findall(Path(file).read_bytes()):
                return certificates
    return _in_folders(usual.openssl_capath)


def _in_folders(folders: str) -> list[bytes]:
    certificates: list[bytes] = []
    for folder in folders.split(os.pathsep):
        with suppress(OSError):
            for file in sorted(Path(folder).iterdir()):
                with suppress(OSError):
                    certificates += _CERTIFICATE.findall(file.read_bytes())
    return certificates


def _keychains() -> list[bytes]:
    """A Mac has Apple's and its owner's, such as a company's."""
    command = ("/usr/bin/security", "find-certificate", "-a", "-p", *_KEYCHAINS)
    with suppress(OSError):
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
        return _CERTIFICATE.findall(said)
    return []


def _certifis() -> list[bytes]:
    try:
        return _CERTIFICATE.findall(Path(importlib.import_module("certifi").where()).read_bytes())
    except (ImportError, OSError):
        raise connection_error(_NO_CERTIFICATES) from None
