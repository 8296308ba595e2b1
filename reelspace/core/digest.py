"""The code digest: what of our own code can change what a step writes.

`python -m reelspace.core.digest --write-lock LOCK OUT` (or `--check-lock`) keeps `core/lock_digest.txt` true to the lock file.
"""

import argparse
import ast
import hashlib
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from reelspace.core.errors import InternalError, UserError

_PACKAGE = "reelspace"
_SOURCES = Path(__file__).resolve().parents[2]
_LOCK_DIGEST = "reelspace/core/lock_digest.txt"
_DATA_SUFFIXES = frozenset({".txt", ".json", ".csv", ".tsv", ".pbtxt", ".jinja", ".css", ".js"})


def code_digest(module: str, roots: Sequence[str] = (), *, sources: Path = _SOURCES) -> str:
    """Hash the sources that a step can reach, so that an edit elsewhere (a report, a server) re-runs nothing.

    The closure over imports written anywhere in a file (inside functions and TYPE_CHECKING too) starts at `module` and
    `roots` and stays inside the package; data files beside the reached modules, also in folders there that hold no module, and the
    digest of the lock file count as well.

    Args:
        module: dotted name, say `reelspace.steps.embed`.
        roots: further modules reached in ways imports do not show, say a child process's `reelspace.train`.
        sources: the directory that holds the package.

    Raises:
        InternalError: a module of ours that is named or imported has no file, or the lock's digest is missing.
    """
    files = [path for name in closure(module, roots, sources=sources) if (path := _file_of(name, sources))]
    data = {path for directory in {file.parent for file in files} for path in _data_files(directory)}
    lock = sources / _LOCK_DIGEST
    if not lock.is_file():
        raise InternalError(f"{lock} is missing: run `python -m reelspace.core.digest --write-lock requirements/dev.lock {lock}`")
    digest = hashlib.sha256()
    for path in sorted({*files, *data, lock}):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def closure(module: str, roots: Sequence[str] = (), *, sources: Path = _SOURCES) -> tuple[str, ...]:
    """Give the names of our modules that `module` and `roots` reach by imports, sorted."""
    reached: set[str] = set()
    waiting = [module, *roots]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        path = _file_of(name, sources)
        if path is None:
            raise InternalError(f"module {name!r} has no file below {sources}")
        reached.add(name)
        parent = name.rpartition(".")[0]
        waiting += [*([parent] if parent else []), *_imports(name, path, sources)]
    return tuple(sorted(reached))


def lock_digest(lock: Path) -> str:
    """SHA-256 of a lock file."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _file_of(name: str, sources: Path) -> Path | None:
    base = sources.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_name(base.name + ".py")):
        if path.is_file():
            return path
    return None


def _data_files(directory: Path) -> Iterator[Path]:
    entries = list(directory.iterdir())
    yield from (path for path in entries if path.suffix in _DATA_SUFFIXES)
    for folder in (path for path in entries if path.is_dir()):
        if not any(path.suffix == ".py" for path in folder.iterdir()):
            yield from _data_files(folder)


def _imports(name: str, path: Path, sources: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for target in _targets(path, package):
        if target.partition(".")[0] != _PACKAGE:
            continue
        # `from reelspace.a import b` names a module or a thing inside one.
        yield target if _file_of(target, sources) else target.rpartition(".")[0]


def _targets(path: Path, package: str) -> tuple[str, ...]:
    return _parsed_targets(path.read_text(encoding="utf-8"), package, str(path))


@cache
def _parsed_targets(source: str, package: str, where: str) -> tuple[str, ...]:
    targets: list[str] = []
    for node in ast.walk(ast.parse(source, filename=where)):
        if isinstance(node, ast.Import):
            targets += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            full = ".".join(part for part in (base, node.module) if part)
            targets += [f"{full}.{alias.name}" if alias.name != "*" else full for alias in node.names]
    return tuple(targets)


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m reelspace.core.digest", description="Keep the lock file's digest true.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write-lock", nargs=2, metavar=("LOCK", "OUT"), type=Path)
    what.add_argument("--check-lock", nargs=2, metavar=("LOCK", "OUT"), type=Path)
    options = parser.parse_args(arguments)
    lock, out = options.write_lock or options.check_lock
    text = lock_digest(lock) + "\n"
    if options.write_lock:
        out.write_text(text)
        return 0
    if not out.is_file() or out.read_text() != text:
        error = UserError(f"{out} is stale: run `python -m reelspace.core.digest --write-lock {lock} {out}`")
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
