"""What a step last said of its progress."""

import json
from collections.abc import Sequence


def last_progress(lines: Sequence[str]) -> str:
    """Give the last word on progress among lines of a log; "" where there is none."""
    for line in reversed(lines):
        if line.startswith('{"') and '"progress"' in line:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if event.get("event") == "progress":
                return f"{event['what']}: {event['done']} of {event['total']}"
    return ""
