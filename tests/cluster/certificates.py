"""Certificates of a test cluster, signed by an authority of its own (openssl)."""

import subprocess
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = ("-days", "30")
_NAMES = ("DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "IP:127.0.0.1")


class Authority:
    """A new certificate authority in a folder: `ca.crt`, `ca.key`, and what it signs beside them."""

    def __init__(self, folder: Path) -> None:
        """Make the folder, readable by its owner alone, and the authority."""
        self.folder = folder
        folder.mkdir(mode=0o700)
        usage = ("-addext", "keyUsage=critical,keyCertSign,digitalSignature")
        self._openssl("req", "-x509", *_CURVE, *_DAYS, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=reelspace tests", *usage)

    def sign_server(self, name: str, subject: str, *addresses: str) -> None:
        """Write NAME.crt and NAME.key for a server under the API server's names, localhost and more addresses."""
        names = ",".join((*_NAMES, *(f"IP:{address}" for address in addresses)))
        self._sign(name, subject, f"extendedKeyUsage=serverAuth\nsubjectAltName={names}\n")

    def sign_client(self, name: str, subject: str) -> None:
        """Write NAME.crt and NAME.key for a client; Kubernetes reads its groups from /O and its name from /CN of the subject."""
        self._sign(name, subject, "extendedKeyUsage=clientAuth\n")

    def make_key_pair(self, name: str) -> None:
        """Write NAME.key and NAME.pub, which sign the tokens of service accounts."""
        self._openssl("genrsa", "-out", f"{name}.key", "2048")
        self._openssl("rsa", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub")

    def _sign(self, name: str, subject: str, extensions: str) -> None:
        (self.folder / f"{name}.ext").write_text(extensions)
        self._openssl("req", *_CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signer, *_DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt")

    def _openssl(self, *words: str) -> None:
        ended = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (words, ended.stderr)
