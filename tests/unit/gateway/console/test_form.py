"""Forms as browsers send them: every byte of a file comes through, and what no browser sends is refused."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelspace.gateway.console.form import MAX_FIELDS, parse_form
from reelspace.search.access.refusal import RequestRefused

TEXTS = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=8), st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=6
)


def sent(texts: dict[str, str], files: dict[str, bytes]) -> tuple[str, bytes]:
    """Let another library write a form."""
    parts: list[tuple[str, object]] = [(name, (None, text)) for name, text in texts.items()]
    parts += [(name, ('a "clip"; name="x".mp4', file)) for name, file in files.items()]
    request = httpx.Request("POST", "http://x", files=parts)  # type: ignore[arg-type]
    return request.headers["content-type"], request.read()


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.dictionaries(st.sampled_from(["clip", "other"]), st.binary(max_size=200), min_size=1))
def test_texts_and_files_come_through_whole(texts: dict[str, str], files: dict[str, bytes]) -> None:
    form = parse_form(*sent(texts, files))
    assert form.texts == texts
    assert form.files == files


def test_lines_and_dashes_in_a_file_are_kept() -> None:
    file = b"\r\n--\r\n\r\n--x\r\n\0\xff--"
    assert parse_form(*sent({"a": "b"}, {"clip": file})).files == {"clip": file}


def test_a_form_without_files_comes_in_the_short_encoding_too() -> None:
    form = parse_form("application/x-www-form-urlencoded; charset=UTF-8", "key=a+b%26c&none=&key2=ä".encode())
    assert form.texts == {"key": "a b&c", "none": "", "key2": "ä"}
    assert form.text("missing") == ""


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "text/plain", "multipart/mixed; boundary=x"])
def test_what_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(RequestRefused, match="expected a form") as refused:
        parse_form(kind, b"{}")
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x",
        b"--y\r\n\r\n--y--",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
        b"--x\r\n\r\n1\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n--x--',
    ],
)
def test_a_form_that_is_cut_short_or_has_no_names_is_refused(body: bytes) -> None:
    with pytest.raises(RequestRefused):
        parse_form("multipart/form-data; boundary=x", body)


def test_more_fields_than_any_page_has_are_refused() -> None:
    with pytest.raises(RequestRefused, match="at most"):
        parse_form(*sent({f"f{number}": "" for number in range(MAX_FIELDS + 5)}, {"clip": b""}))
    with pytest.raises(RequestRefused, match="at most"):
        parse_form("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(MAX_FIELDS + 1)))
