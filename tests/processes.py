"""What tests ask of the kernel about processes."""

from pathlib import Path


def is_running(pid: int) -> bool:
    """Tell whether a process exists and has not ended; one that ended and is not waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
