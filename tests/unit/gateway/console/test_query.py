"""The query box: what the points API finds, in words and by files where encoders are there, and why something was not found."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from reelspace.gateway.console.endpoints import MAX_FORM_BYTES

from ...search.access.worlds import Constant
from .reading import Element, read
from .worlds import MAX_BYTES, PROMOTED, SPACE, World, world

PIXEL = "data:image/gif;base64," + base64.b64encode(b"GIF89a-little").decode()
UUID_ID = UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway with two collections of clients."""
    with world(tmp_path_factory.mktemp("plain")) as one:
        one.make("works", range(20), kind="video")
        one.make("others", [])
        yield one


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway with the promoted collection, an encoder of words and one of files."""
    with world(tmp_path_factory.mktemp("encoded"), {"text_encoder": Constant(-1, 0)}, promoted=True, space=SPACE) as one:
        one.put("videos", range(10), title="noodles")
        yield one


def hits(page: Element) -> list[tuple[str, str]]:
    """Give id and score of every hit; the point that was asked for has no score."""
    ids = [button.text for button in page.all("button", class_="link")]
    return [(id, row[1]) for id, row in zip(ids, page.table("Hits"), strict=True)]


def api(one: World, collection: str, query: object, limit: int = 12) -> list[tuple[str, str]]:
    answer = one.client.post(f"/collections/{collection}/points/query", json={"query": query, "limit": limit})
    return [(str(point["id"]), f"{point['score']:.4f}") for point in answer.json()["result"]["points"]]


@pytest.mark.parametrize(("id", "limit"), [(3, 12), (19, 5), (0, 1)])
def test_a_query_by_id_gives_what_the_points_api_gives(plain: World, id: int, limit: int) -> None:
    answer = plain.ask("works", "id", id=f" {id} ", limit=str(limit))
    assert answer.status_code == 200
    found = hits(read(answer.text))
    assert found[0] == (str(id), "")
    assert found[1:] == api(plain, "works", id, limit)
    assert len(found) == limit + 1


def test_ids_may_be_uuids_and_hits_can_be_asked_for_in_turn(plain: World) -> None:
    points = [{"id": str(UUID_ID), "vector": [50, 1]}]
    assert plain.client.put("/collections/works/points?wait=true", json={"points": points}).status_code == 200
    page = read(plain.ask("works", "id", id=str(UUID_ID).upper()).text)
    assert hits(page)[0][0] == str(UUID_ID)
    again = [button for button in page.all("button", class_="link") if button.attributes["form"] == "again"]
    assert again[1].attributes["name"] == "id"
    (form,) = (one for one in page.all("form") if one.attributes.get("id") == "again")
    given = {str(field.attributes["name"]): str(field.attributes["value"]) for field in form.all("input")}
    asked = plain.ask(given.pop("collection"), given.pop("by"), **given | {"id": str(again[1].attributes["value"])})
    assert hits(read(asked.text))[1:] == api(plain, "works", int(again[1].text))
    assert plain.client.post("/collections/works/points/delete?wait=true", json={"points": [str(UUID_ID)]}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"by": "id", "id": "77"}, 404, "no point with id 77"),
        ({"by": "id", "id": "x<b>"}, 400, "expected a whole number or a UUID"),
        ({"by": "id", "id": "9" * 21}, 400, "id: expected a whole number or a UUID"),
        ({"by": "id", "id": ""}, 400, "id: expected"),
        ({"by": "id", "id": "1", "limit": "51"}, 400, "limit: expected 1 to 50"),
        ({"by": "id", "id": "1", "limit": "-1"}, 400, "limit: expected 1 to 50"),
        ({"by": "id", "id": "1", "using": "sound"}, 400, "using: expected the name of a vector"),
        ({"by": "magic"}, 400, "by: expected one of id, words, clip"),
        ({"by": "words", "words": "ramen"}, 400, "no text encoder was promoted"),
        ({"by": "clip"}, 400, "choose a file first"),
    ],
)
def test_what_cannot_be_asked_is_told_on_the_page(plain: World, fields: dict[str, str], status: int, words: str) -> None:
    answer = plain.ask("works", **fields)
    page = read(answer.text)
    assert answer.status_code == status
    assert words in page.one("div", id="results").text
    assert page.table("Shards"), "the rest of the page is there"


def test_a_collection_that_is_not_there_is_a_page_of_its_own(plain: World) -> None:
    for answer in (plain.ask("nowhere", "id", id="1"), plain.page("nowhere")):
        assert answer.status_code == 404
        assert "doesn't exist" in read(answer.text).text


def test_an_empty_collection_finds_no_point(plain: World) -> None:
    assert "no point with id 1" in plain.ask("others", "id", id="1").text


def test_words_are_asked_of_the_promoted_encoder(encoded: World) -> None:
    found = hits(read(encoded.ask("videos", "words", words="noodles", limit="4").text))
    assert found == api(encoded, "videos", {"text": "noodles", "model": "text_encoder"}, 4)
    assert found[0][0] == "0", "the encoder's vector points away from the others"
    empty = encoded.ask("videos", "words", words="  ")
    assert (empty.status_code, "expected words" in empty.text) == (400, True)


def test_a_file_is_encoded_and_found_like_its_vector(encoded: World) -> None:
    file = bytes(range(256)) * 3
    answer = encoded.ask(PROMOTED.full_name, "clip", file, words="ramen", limit="3")
    assert hits(read(answer.text)) == api(encoded, "videos", [float(len(file)), 1.0], 3)
    assert 'value="ramen"' in answer.text


def test_a_file_of_another_space_is_not_compared(tmp_path: Path) -> None:
    with world(tmp_path, {"text_encoder": Constant(1, 0)}, promoted=True, space="ffff") as one:
        one.put("videos", [1])
        answer = one.ask("videos", "clip", b"x")
    assert (answer.status_code, "cannot be compared" in answer.text) == (409, True)


def test_files_keep_the_limits_of_the_gateway(encoded: World, plain: World) -> None:
    largest = encoded.ask("videos", "clip", bytes(MAX_BYTES))
    assert (largest.status_code, len(hits(read(largest.text)))) == (200, 10)
    larger = encoded.ask("videos", "clip", bytes(MAX_BYTES + 1))
    assert (larger.status_code, f"at most {MAX_BYTES} bytes" in larger.text) == (400, True)
    assert encoded.ask("videos", "clip", bytes(MAX_BYTES + MAX_FORM_BYTES)).status_code == 413
    assert plain.ask("works", "id", bytes(MAX_FORM_BYTES), id="1").status_code == 413, "without an encoder of files there are none"


def test_bodies_of_the_console_count_among_those_of_all_inferences(tmp_path: Path) -> None:
    limit = {"v2": {"max_held_bytes": 100_000}}
    with world(tmp_path, {"text_encoder": Constant(1, 0)}, promoted=True, space=SPACE, **limit) as one:
        answer = one.ask("videos", "clip", bytes(120_000))
    assert (answer.status_code, "too many bytes" in answer.text) == (429, True)


def test_pictures_of_payloads_are_shown_and_nothing_else_that_says_so(plain: World) -> None:
    plain.make("pictures", [1], thumbnail=PIXEL, title="first")
    bad = ["http://elsewhere/a.png", "data:image/svg+xml;base64,PHN2Zz4=", "javascript:alert(1)", PIXEL + '"x', 7, None, {"a": PIXEL}]
    for id, value in enumerate([*bad, "data:image/png;base64," + "A" * 300_000], 2):
        plain.put("pictures", [id], thumbnail=value)
    page = read(plain.ask("pictures", "id", id="1", limit="50").text)
    assert [image.attributes["src"] for image in page.all("img")] == [PIXEL]
    assert len(page.table("Hits")) == 9
    assert page.table("Hits")[0][-1] == "1title: first", "the picture is not repeated among the words"


def test_long_and_hostile_payloads_are_cut_and_are_text(plain: World) -> None:
    payload = {"<b>": "<script>alert(1)</script>", "long": "x" * 10_000, "deep": {"a": [1, {"b": "ü"}]}, "more": "y" * 10_000}
    plain.make("hostile", [1, 2], **payload)
    answer = plain.ask("hostile", "id", id="1")
    page = read(answer.text)
    told = page.table("Hits")[0][-1].removeprefix("1")
    assert told.startswith("<b>: <script>alert(1)</script> · long: xxx")
    assert 'deep: {"a":[1,{"b":"ü"}]}' in told
    assert len(told) <= 280
    assert page.all("b") == []


def test_a_vector_can_be_chosen_by_its_name(plain: World) -> None:
    vectors = {"cover": {"size": 2, "distance": "Dot"}, "sound": {"size": 2, "distance": "Euclid"}}
    assert plain.client.put("/collections/named", json={"vectors": vectors}).status_code == 200
    points = [{"id": id, "vector": {"cover": [id, 1], "sound": [-id, 1]}} for id in range(1, 5)]
    assert plain.client.put("/collections/named/points?wait=true", json={"points": points}).status_code == 200
    for using, expected in (("cover", ["4", "3", "1"]), ("sound", ["1", "3", "4"]), ("", ["4", "3", "1"])):
        given = {"using": using} if using else {}
        assert [id for id, _ in hits(read(plain.ask("named", "id", id="2", **given).text))][1:] == expected, using


def test_the_answer_is_the_same_whoever_asks_first(plain: World) -> None:
    """The page says how much was searched, as the API does."""
    answer = plain.client.post("/collections/works/points/query", json={"query": 1})
    coverage = json.loads(answer.text)["result"]["coverage"]
    text = read(plain.ask("works", "id", id="1").text).one("div", id="results").text
    assert f"{coverage['rows']:,} of {coverage['of']:,} rows" in text
    assert np.isclose(float(hits(read(plain.ask("works", "id", id="1").text))[1][1]), answer.json()["result"]["points"][0]["score"])
