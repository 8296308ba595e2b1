"""One real gateway process with all its doors: TLS, keys, a port for operators, and an end that is announced."""

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient, models

from reelspace.core.errors import SettingError
from reelspace.core.processes import child, stop
from reelspace.core.settings import read
from reelspace.gateway.settings import GatewaySettings
from reelspace.gateway.tls import open_tls

from .guarded import KeysFile

pytest.importorskip("cryptography", reason="certificates of the tests are made with cryptography, which the development lock has")

DRAIN_S = 0.6


def write_certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate that signs itself, and its key, each in the place of what was there."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths = directory / "tls.crt", directory / "tls.key"
    for path, data in zip(paths, (made.public_bytes(serialization.Encoding.PEM), private), strict=True):
        path.with_suffix(".new").write_bytes(data)
        os.replace(path.with_suffix(".new"), path)
    return paths


@dataclass
class Process:
    process: "subprocess.Popen[bytes]"
    ready: dict[str, Any]
    directory: Path
    keys: KeysFile

    @property
    def port(self) -> int:
        return int(self.ready["url"].rpartition(":")[2])

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.directory / "tls.crt")

    def admin(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.ready['admin']}{path}", timeout=5)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("entrance")
    cert, key = write_certificate(directory, "first")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    keys.write()
    doors = ["--keys-file", str(keys.path), "--tls-cert", str(cert), "--tls-key", str(key), "--admin-port", "0", "--grpc-port", "0"]
    command = [sys.executable, "-m", "reelspace.gateway", "--store", str(directory / "store"), "--backend", "local", "--port", "0"]
    process = child([*command, *doors, "--drain-s", str(DRAIN_S)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Process(process, json.loads(process.stdout.readline()), directory, keys)
    finally:
        stop(process)
        process.stdout.close()


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_the_official_client_works_over_tls_with_its_key(gateway: Process, prefer_grpc: bool) -> None:
    assert gateway.ready["url"].startswith("https://")
    options = {"root_certificates": (gateway.directory / "tls.crt").read_bytes()}
    client = QdrantClient(
        url=gateway.ready["url"],
        grpc_port=int(gateway.ready["grpc"].rpartition(":")[2]),
        prefer_grpc=prefer_grpc,
        api_key=gateway.keys.secrets["all"],
        verify=gateway.context(),
        grpc_options=options,
        check_compatibility=False,
    )
    name = f"works-{prefer_grpc}"
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert(name, [models.PointStruct(id=number, vector=[number, 1]) for number in range(5)], wait=True)
    assert [point.id for point in client.query_points(name, query=[1.0, 0.0], limit=2).points] == [4, 3]
    client.close()


def test_plain_connections_are_refused(gateway: Process) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(gateway.ready["url"].replace("https", "http") + "/livez")
    with grpc.insecure_channel(gateway.ready["grpc"]) as channel, pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/qdrant.Qdrant/HealthCheck")(b"", timeout=2)
    assert failed.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_counters_and_reasons_are_for_operators(gateway: Process) -> None:
    with httpx.Client(base_url=gateway.ready["url"], verify=gateway.context()) as client:
        assert [client.get(path).status_code for path in ("/livez", "/healthz", "/readyz", "/startupz")] == [200] * 4
        assert client.get("/metrics").status_code == 404
    assert gateway.admin("/readyz").status_code == 200
    assert "reelspace_queries_waiting 0.0" in gateway.admin("/metrics").text
    assert gateway.admin("/collections").status_code == 404


def test_new_connections_get_a_replaced_certificate_and_old_ones_go_on(gateway: Process) -> None:
    def asked(connection: http.client.HTTPSConnection) -> int:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        return answer.status

    old = http.client.HTTPSConnection("127.0.0.1", gateway.port, context=gateway.context(), timeout=5)
    assert asked(old) == 200
    write_certificate(gateway.directory, "second")
    limit_s = time.monotonic() + 5
    while True:
        new = http.client.HTTPSConnection("127.0.0.1", gateway.port, context=gateway.context(), timeout=5)
        try:
            assert asked(new) == 200
            break
        except ssl.SSLCertVerificationError:
            assert time.monotonic() < limit_s
            time.sleep(0.1)
        finally:
            new.close()
    assert asked(old) == 200
    old.close()


def test_an_end_is_first_told_to_who_asks_for_readiness_and_then_comes(gateway: Process) -> None:
    shown = {"api-key": gateway.keys.secrets["all"]}
    with httpx.Client(base_url=gateway.ready["url"], verify=gateway.context(), headers=shown) as client:
        assert client.get("/readyz").status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        begun_s = time.monotonic()
        while gateway.admin("/readyz").status_code == 200:
            assert time.monotonic() < begun_s + DRAIN_S
        assert gateway.admin("/livez").status_code == 200
        assert client.get("/collections").status_code == 200, "what still comes is answered"
        assert time.monotonic() < begun_s + DRAIN_S
    assert gateway.process.wait(10) == 0
    assert time.monotonic() >= begun_s + DRAIN_S


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    cert, key = write_certificate(tmp_path, "one")[0], write_certificate(tmp_path / "other", "two")[1]
    with pytest.raises(SettingError, match="tls_cert"):
        open_tls(cert, key)
    with pytest.raises(SettingError, match="tls_key"):
        open_tls(cert, tmp_path / "none.key")
    with pytest.raises(SettingError, match="both of tls_cert and tls_key"):
        read(GatewaySettings, {"store": "unused", "backend": "local", "tls_cert": str(cert)})
