"""Whether an installation of serving is sound: its machine, its store, its keys, and that Triton serves what was promoted."""

import os
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from reelspace.core.errors import ReelspaceError
from reelspace.core.store import Store, open_store
from reelspace.gateway.keys import read_keys
from reelspace.search.access.served import Served, read_served
from reelspace.search.storage.probe import probe_store
from reelspace.serving.doctor.finding import Finding, fail, ok, warn
from reelspace.serving.doctor.machine import check_machine, check_ports
from reelspace.serving.doctor.triton import ModelFacts, TritonPatient

SMALL_SKEW_S: Final = 5.0
LARGE_SKEW_S: Final = 300.0
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
AMAZON: Final = "https://s3.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Installation:
    """What is looked at; what is None is left out."""

    store: str | None = None
    triton: str | None = None
    keys_file: Path | None = None
    host: str = "127.0.0.1"
    ports: tuple[int, ...] = ()

    @property
    def left_out(self) -> list[str]:
        """Name the options that would let more be looked at."""
        given = {"--store": self.store, "--triton": self.triton, "--keys": self.keys_file, "--port": self.ports or None}
        return [name for name, value in given.items() if value is None]


def examine(installation: Installation) -> list[Finding]:
    """Look at everything that was named; nothing raises, what is broken is a finding."""
    findings, store, served = check_machine(), None, None
    findings += check_ports(installation.host, installation.ports)
    if installation.keys_file is not None:
        findings.append(check_keys(installation.keys_file, datetime.now(UTC)))
    if installation.store is not None:
        found, store = check_store(installation.store)
        findings.append(found)
        if store is not None:
            found, served = check_promoted(store)
            findings += [check_clock(installation.store, os.environ), found]
    if installation.triton is not None:
        findings += _triton_findings(installation.triton, served)
    return findings


def check_keys(path: Path, now: datetime) -> Finding:
    """Look at who may change the file of keys, and whether a key in it is valid."""
    try:
        keys, mode = read_keys(path), path.stat().st_mode
    except (ReelspaceError, OSError) as error:
        return fail("keys", " ".join(str(error).split()), "reelspace search key makes a line for it")
    if mode & WRITABLE_BY_OTHERS:
        return fail("keys", f"{path} can be written by others (mode {stat.S_IMODE(mode):o})", f"chmod 640 {path}")
    expired = [key.name for key in keys if key.expires_at is not None and key.expires_at <= now]
    if len(expired) == len(keys):
        return fail("keys", f"none of the {len(keys)} keys of {path} is valid", "reelspace search key makes a line for it")
    if expired:
        return warn("keys", f"expired: {', '.join(expired)}", f"take them out of {path}, or renew them")
    if mode & stat.S_IROTH:
        return warn("keys", f"{path} can be read by all (mode {stat.S_IMODE(mode):o}); it holds hashes only", f"chmod 640 {path}")
    return ok("keys", f"{len(keys)} valid in {path}")


def check_store(url: str) -> tuple[Finding, Store | None]:
    """Write, replace and remove a small object under conditions; gives the store, too, where that works."""
    try:
        # An address with a typo must not become a directory.
        if "://" not in url and not Path(url).is_dir():
            return fail("store", f"{url} is no directory", "name the directory or s3://bucket/prefix that holds what was promoted"), None
        store = open_store(url)
        probe_store(store)
    except (ReelspaceError, OSError) as error:
        return fail("store", " ".join(str(error).split())[:500], "look at the address, REELSPACE_S3_ENDPOINT and the AWS_ variables"), None
    return ok("store", f"{url} keeps conditions"), store


def check_promoted(store: Store) -> tuple[Finding, Served | None]:
    """Follow spaces/current.json, and look whether its collection is of its space."""
    try:
        served = read_served(store)
    except ReelspaceError as error:
        return fail("promoted", " ".join(str(error).split())[:500], "reelspace run promotes, or the pipeline's step promote"), None
    versions = ", ".join(f"{model} {version}" for model, version in sorted(served.encoders.items())) or "no encoders"
    return ok("promoted", f"{served.collection.full_name} with {versions}"), served


def check_clock(store_url: str, environment: Mapping[str, str]) -> Finding:
    """Compare this machine's clock with the store's: keys expire by it, and S3 refuses requests of another time."""
    try:
        is_s3 = store_url.startswith("s3://")
        skew_s = _s3_skew_s(environment.get("REELSPACE_S3_ENDPOINT") or AMAZON) if is_s3 else _file_skew_s(Path(store_url))
    except (httpx.TransportError, KeyError, ValueError, OSError) as error:
        return warn("clock", f"the store's time is not to be had: {error or type(error).__name__}", "compare it by hand: date -u")
    return judged_clock(skew_s)


def judged_clock(skew_s: float) -> Finding:
    """Judge how far this machine's clock is before the store's, seconds."""
    seen = f"{abs(skew_s):.0f} s {'before' if skew_s > 0 else 'behind'} the store's"
    if abs(skew_s) > LARGE_SKEW_S:
        return fail("clock", seen, "set the time: systemctl restart systemd-timesyncd, or chronyd")
    if abs(skew_s) > SMALL_SKEW_S:
        return warn("clock", seen, "set the time before it is further off")
    return ok("clock", f"within {SMALL_SKEW_S:.0f} s of the store's")


def check_agreement(served: Served, facts: Mapping[str, ModelFacts]) -> list[Finding]:
    """Compare the space of each model that answered with the collection's, and the length of its vectors."""
    collection, dimensions = served.collection, {one.dimension for one in served.collection.vectors.values()}
    findings = []
    for model, fact in sorted(facts.items()):
        check = f"space of {model}"
        if fact.space_id is not None and fact.space_id != collection.space_id:
            seen = f"{fact.space_id}, the collection {collection.full_name} is of {collection.space_id}: hits would be noise"
            findings.append(fail(check, seen, "promote encoders and index of one teacher together"))
        elif fact.dimension is not None and fact.dimension not in dimensions:
            seen = f"vectors of length {fact.dimension}, the collection has {', '.join(map(str, sorted(dimensions)))}"
            findings.append(fail(check, seen, "promote encoders and index of one teacher together"))
        elif fact.space_id is not None:
            findings.append(ok(check, f"{fact.space_id}, as the collection"))
    return findings


def _triton_findings(url: str, served: Served | None) -> list[Finding]:
    with TritonPatient(url) as triton:
        server = triton.check_server()
        if server.level == "fail":
            return [server]
        promoted = {} if served is None else {model: str(version) for model, version in served.encoders.items()}
        wanted = sorted((promoted if served is not None else triton.newest()).items())
        findings, facts = triton.check_models(wanted)
    return [server, *findings, *(check_agreement(served, facts) if served is not None else [])]


def _s3_skew_s(endpoint: str) -> float:
    sent = time.time()
    response = httpx.get(endpoint, timeout=10, follow_redirects=False)
    told = parsedate_to_datetime(response.headers["Date"]).timestamp()
    # The header has whole seconds, cut off.
    return (sent + time.time()) / 2 - (told + 0.5)


def _file_skew_s(directory: Path) -> float:
    # On a shared directory the file's time is the file server's.
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".clock-") as file:
        file.write(b"1")
        file.flush()
        return time.time() - os.stat(file.name).st_mtime
