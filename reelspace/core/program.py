"""Running a program of ours: its errors become one line and an exit code."""

import sys
import traceback
from collections.abc import Callable

from reelspace.core.errors import InternalError, as_reelspace_error

EXIT_INTERRUPTED = 130


def run_main(function: Callable[[], None]) -> int:
    """Run a program and give its exit code; an error of ours is one line on stderr, a bug also shows where it happened."""
    try:
        function()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except Exception as caught:  # noqa: BLE001  the outermost frame: nothing is above that could handle it
        error = as_reelspace_error(caught)
        if isinstance(error, InternalError):
            traceback.print_exception(caught)
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return error.exit_code
    return 0
