"""TLS for both faces of the gateway, from files that may be replaced while it serves."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from reelspace.core.errors import SettingError
from reelspace.gateway.followed_files import FollowedFiles


@dataclass(frozen=True, slots=True)
class Tls:
    """Contexts of HTTP and gRPC; connections that come later use what their files hold then, those that are open go on."""

    http: ssl.SSLContext
    grpc: ssl.SSLContext
    files: FollowedFiles


def open_tls(cert: Path, key: Path) -> Tls:
    """Read a chain of certificates and its private key, both PEM.

    Raises:
        SettingError: they cannot be read, or do not belong together.
    """
    http, grpc = _context("http/1.1"), _context("h2")

    def take() -> None:
        # On the side first: a context that took half of a pair would refuse every connection.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), http, grpc):
            try:
                context.load_cert_chain(cert, key, password=_no_password)
            except (OSError, ValueError) as error:
                raise SettingError(f"tls_cert {cert}, tls_key {key}: expected a PEM chain and its key without password: {error}") from error

    return Tls(http, grpc, FollowedFiles((cert, key), take))


def _context(protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    return context


def _no_password() -> str:
    raise ValueError("the key asks for a password")
