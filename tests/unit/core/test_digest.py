"""The code digest follows imports, and nothing else."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reelspace
from reelspace.core.digest import _DATA_SUFFIXES, closure, code_digest
from reelspace.core.errors import InternalError

FILES = {
    "reelspace/__init__.py": "",
    "reelspace/core/__init__.py": "",
    "reelspace/core/digest.py": "",
    "reelspace/core/lock_digest.txt": "abc\n",
    "reelspace/steps/__init__.py": "",
    "reelspace/steps/embed.py": """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from reelspace.model.kind import Kind

def run():
    from reelspace.model import tower
""",
    "reelspace/model/__init__.py": "",
    "reelspace/model/tower.py": "import numpy\nfrom . import block\nfrom .deep.leaf import thing\n",
    "reelspace/model/block.py": "from reelspace.model.tower import x  # a circle\n",
    "reelspace/model/kind.py": "Kind = int\n",
    "reelspace/model/deep/__init__.py": "",
    "reelspace/model/deep/leaf.py": "from ..star import *\nthing = 1\n",
    "reelspace/model/star.py": "",
    "reelspace/model/unused.py": "",
    "reelspace/model/words.txt": "stop words",
    "reelspace/model/lists/deeper/words.txt": "more stop words",
    "reelspace/model/README.md": "prose",
    "reelspace/evaluate/__init__.py": "",
    "reelspace/evaluate/report.py": "",
    "reelspace/evaluate/page.txt": "a page",
    "backends/encoder/model.py": "from reelspace.model import unused\n",
}
REACHED = {
    "reelspace",
    "reelspace.steps",
    "reelspace.steps.embed",
    "reelspace.model",
    "reelspace.model.tower",
    "reelspace.model.block",
    "reelspace.model.kind",
    "reelspace.model.deep",
    "reelspace.model.deep.leaf",
    "reelspace.model.star",
}
DATA = {"reelspace/core/lock_digest.txt", "reelspace/model/words.txt", "reelspace/model/lists/deeper/words.txt"}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_closure_is_every_module_that_an_import_reaches(sources: Path) -> None:
    assert set(closure("reelspace.steps.embed", sources=sources)) == REACHED


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_edit_changes_the_digest_only_if_the_file_is_reached(sources: Path, name: str) -> None:
    before = code_digest("reelspace.steps.embed", sources=sources)
    with (sources / name).open("a") as file:
        file.write("# edited\n")
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    counts = module in REACHED or name in DATA
    assert (code_digest("reelspace.steps.embed", sources=sources) != before) == counts


def test_a_root_outside_the_package_counts_with_what_it_imports(sources: Path) -> None:
    (sources / "backends/__init__.py").write_text("")
    (sources / "backends/encoder/__init__.py").write_text("")
    found = closure("reelspace.steps.embed", ["backends.encoder.model"], sources=sources)
    assert set(found) - REACHED == {"backends", "backends.encoder", "backends.encoder.model", "reelspace.model.unused"}


def test_the_digest_does_not_depend_on_where_the_sources_lie(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(sources, other)
    assert code_digest("reelspace.steps.embed", sources=sources) == code_digest("reelspace.steps.embed", sources=other)


def test_a_module_without_a_file_is_our_bug(sources: Path) -> None:
    with pytest.raises(InternalError, match=r"reelspace\.steps\.nope"):
        code_digest("reelspace.steps.nope", sources=sources)
    (sources / "reelspace/core/lock_digest.txt").unlink()
    with pytest.raises(InternalError, match="--write-lock"):
        code_digest("reelspace.steps.embed", sources=sources)


def test_a_real_step_does_not_reach_the_rooms_above_it() -> None:
    found = closure("reelspace.steps.import_tables")
    assert "reelspace.core.steps" in found
    assert [name for name in found if name.split(".")[1:2] not in ([], ["core"], ["steps"])] == []


def test_every_file_of_the_package_is_code_or_counts_as_data() -> None:
    package = Path(reelspace.__file__).parent
    others = {path.name if path.suffix == ".typed" else path.suffix for path in package.rglob("*") if path.is_file()} - {".py", ".pyc"}
    assert others - _DATA_SUFFIXES == {"py.typed"}


def run_cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "reelspace.core.digest", *arguments], capture_output=True, text=True, check=False)


def test_the_lock_digest_is_written_and_checked(tmp_path: Path) -> None:
    lock, out = tmp_path / "dev.lock", tmp_path / "lock_digest.txt"
    lock.write_text("numpy==1.26.4\n")
    assert run_cli("--check-lock", str(lock), str(out)).returncode == 2
    assert run_cli("--write-lock", str(lock), str(out)).returncode == 0
    assert out.read_text() == hashlib.sha256(b"numpy==1.26.4\n").hexdigest() + "\n"
    assert run_cli("--check-lock", str(lock), str(out)).returncode == 0
    lock.write_text("numpy==1.26.3\n")
    stale = run_cli("--check-lock", str(lock), str(out))
    assert (stale.returncode, "is stale" in stale.stderr, stale.stderr.count("\n")) == (2, True, 1)


def test_the_committed_lock_digest_is_current() -> None:
    root = Path(reelspace.__file__).parents[1]
    stale = run_cli("--check-lock", str(root / "requirements/dev.lock"), str(root / "reelspace/core/lock_digest.txt"))
    assert stale.returncode == 0, stale.stderr
