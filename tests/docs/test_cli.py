"""The command line stays light, and everything it offers is documented."""

import subprocess
import sys
import time

LIGHT = (
    "import sys, reelspace.cli.main, reelspace.search.client, kfp_compile\n"
    "heavy = [name for name in ('torch', 'faiss', 'deepspeed', 'pydantic_settings', 'polars', 'av') if name in sys.modules]\n"
    "assert not heavy, heavy\n"
)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, timeout=120, check=False)


def test_command_line_and_client_load_without_heavy_libraries():
    result = run("-c", LIGHT)
    assert result.returncode == 0, result.stderr


def test_help_takes_at_most_six_times_the_import_of_typer():
    def best(*args: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            run(*args)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("-m", "reelspace.cli", "--help") <= 6 * best("-c", "import typer")


def test_unknown_command_is_refused_with_the_nearest_one():
    result = run("-m", "reelspace.cli", "serach")
    assert result.returncode == 2
    assert "search" in result.stderr
    assert "Traceback" not in result.stderr


def test_generated_reference_pages_are_current():
    result = run("docs/generate.py", "--check")
    assert result.returncode == 0, result.stderr
