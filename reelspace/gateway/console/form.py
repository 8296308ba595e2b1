"""A browser's form, as its body came: names with texts, and files. Pure.

Source: RFC 7578 (multipart/form-data), as browsers write it; nothing else is understood.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from reelspace.search.access.refusal import RequestRefused

ENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MAX_FIELDS: Final = 16
_BOUNDARY: Final = re.compile(r'boundary="?([A-Za-z0-9\'()+_,./:=? -]{1,70}?)"?\s*(?:;|$)')
_NAME: Final = re.compile(rb'form-data;.*?\bname="([^"]{1,64})"')
_FILE: Final = re.compile(rb'\bfilename="')


@dataclass(frozen=True, slots=True)
class Form:
    """What was filled in; of a name that came twice the last one counts. A file that was not chosen has no bytes."""

    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Give a text without spaces around it, empty where there is none."""
        return self.texts.get(name, "").strip()


def is_form(content_type: str) -> bool:
    """Tell whether a body of a kind is a form."""
    return content_type.partition(";")[0].strip().lower() in (ENCODED, MULTIPART)


def parse_form(content_type: str, body: bytes) -> Form:
    """Read a body.

    Raises:
        RequestRefused: 415 where it is no form, 400 where it is one that no browser writes.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == ENCODED:
        return Form(dict(_pairs(body)))
    boundary = _BOUNDARY.search(content_type)
    if kind != MULTIPART or boundary is None:
        raise RequestRefused("Content-Type", f"expected a form, got {content_type[:80]!r}", status=415)
    texts, files = {}, {}
    for name, is_file, content in _parts(body, boundary[1].encode()):
        if is_file:
            files[name] = content
        else:
            texts[name] = content.decode(errors="replace")
    return Form(texts, files)


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise RequestRefused("body", f"expected at most {MAX_FIELDS} fields") from error


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bool, bytes]]:
    """Give name, whether it is a file, and content of every part."""
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MAX_FIELDS + 2)
    if len(parts) < 2 or parts[0] or not parts[-1].startswith(b"--"):
        raise RequestRefused("body", f"expected a whole form of at most {MAX_FIELDS} fields")
    for part in parts[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            raise RequestRefused("body", "expected fields with names")
        yield name[1].decode(errors="replace"), _FILE.search(head) is not None, content
