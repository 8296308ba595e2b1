"""The pages as HTML: for no, one and many collections, for hostile names, and without anything from elsewhere."""

import re
from pathlib import Path

import pytest

from reelspace.gateway.console.page import console_page, problem_page, sign_in_page
from reelspace.gateway.console.problem import Problem
from reelspace.gateway.console.query_markup import QueryBox
from reelspace.gateway.console.question import Answer, Hit, Question
from reelspace.gateway.console.replica_states import ReplicaView
from reelspace.gateway.console.status_markup import span
from reelspace.gateway.console.views import CollectionView, ShardView, StatusView
from reelspace.search.compute.queries import ShardFacts

from .picture import made_up_page
from .reading import Element, read

HOSTILE = """<script>alert(1)</script>"'&amp;{}"""
WELL = ShardFacts(1_000, 1_000, 7, 3, 5 << 20, recall=0.97, recall_target=0.95)
LOW = ShardFacts(2_000, 1_500, 9, 4, 3 << 30, 500, recall=0.61, recall_target=0.95)
GIF = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def collection(name: str, *facts: ShardFacts, **more: object) -> CollectionView:
    shards = tuple(ShardView(one, recalls=(None, one.recall, one.recall)) for one in facts)
    return CollectionView(name, shards=shards, vectors={"": "2 numbers, dot"}, **more)  # type: ignore[arg-type]


def status(*collections: CollectionView, **more: object) -> StatusView:
    given = {"selected": next(iter(collections), None), "problem": None, "replicas": (), "num_waiting": 0, "refusals": {}}
    return StatusView(collections, **{"num_collections": len(collections)} | given | {"pid": 7, "up_s": 3_700.0} | more)  # type: ignore[arg-type]


def shown(view: StatusView, box: QueryBox | None = None) -> Element:
    return read(console_page(view, box, has_keys=False))


def box(view: CollectionView, **more: object) -> QueryBox:
    return QueryBox(view, **{"may_read": True, "max_clip_bytes": None} | more)  # type: ignore[arg-type]


def test_a_gateway_without_collections_says_how_the_first_one_comes() -> None:
    page = shown(status())
    assert "There are none yet" in page.text
    assert "None: shards run inside this process" in page.text
    assert page.all("form") == []
    assert page.all("table") == []


def test_one_collection_is_shown_with_its_shards_and_what_is_the_matter() -> None:
    page = shown(status(collection("works", WELL, LOW, aliases=("videos",))))
    assert page.table("Collections") == [["worksalso videos", "low recall", "3,000", "0.610", "2", "3 to 4", "500", "0"]]
    assert page.table("Shards") == [
        ["0", "well", "0.970", "", "1,000", "3", "0", "7", "0", "5.0 MiB"],
        ["1", "low recall", "0.610", "", "2,000", "4", "500", "9", "0", "3.0 GiB"],
    ]
    told = [svg.attributes["aria-label"] for svg in page.all("svg")]
    assert told == [f"recall of the last 1 min: {recall} last, {recall} at least, wanted 0.95" for recall in ("0.970", "0.610")]
    assert page.one("dl").text.count("3,000") == 1


def test_of_many_collections_each_has_a_line_and_one_is_whole() -> None:
    many = [collection(f"works-{number}", WELL) for number in range(300)]
    page = shown(status(*many, selected=many[7]))
    assert [row[0] for row in page.table("Collections")] == [one.name for one in many]
    assert len(page.table("Shards")) == 1
    assert [link.text for link in page.all("a") if link.attributes.get("aria-current") == "true"] == ["works-7"]


def test_of_more_than_can_be_listed_it_is_told_how_many_there_are() -> None:
    page = shown(status(collection("works", WELL), num_collections=2_001))
    assert "2,000 more that are not open here" in page.text
    assert "Collections2,001" in page.one("dl").text


def test_a_collection_that_nothing_has_asked_for_is_named_and_not_opened() -> None:
    page = shown(status(collection("works", WELL), CollectionView("cold")))
    assert page.table("Collections")[1] == ["cold", "not open in this process: nothing has asked for it here yet"]
    loading = shown(status(CollectionView("cold"), problem="collection cold is still being loaded"))
    assert "still being loaded" in loading.text


def test_states_are_told_by_words_the_worst_first() -> None:
    behind = CollectionView("works", shards=(ShardView(WELL, num_behind=3), ShardView(WELL)))
    due = collection("works", ShardFacts(100_000, 0, 9, 1, 0, num_unsealed=90_000))
    assert [shown(status(one)).table("Collections")[0][1] for one in (behind, due)] == ["behind", "build due"]


def test_servers_and_refusals_have_their_lines() -> None:
    replicas = (
        ReplicaView("10.0.0.1:8001", "trusted", 0, 0, {"hedged": 3}, None),
        ReplicaView("10.0.0.2:8001", "out", 2, 5, {"out": 2, "moved": 9}, ("out", 12.0)),
    )
    page = shown(status(collection("works", WELL), replicas=replicas, refusals={"rate": 2, "overloaded": 1_500}, num_waiting=31))
    assert page.table("Servers behind this gateway") == [
        ["10.0.0.1:8001", "trusted", "0", "0", "3 as well, 0 instead", "none"],
        ["10.0.0.2:8001", "out", "2", "5", "0 as well, 9 instead", "out 12 s ago"],
    ]
    assert page.table("Refused requests") == [["overloaded", "1,500"], ["rate", "2"]]
    assert "Waiting31" in page.one("dl").text


def test_hostile_names_payloads_and_questions_are_text_everywhere() -> None:
    view = collection(HOSTILE, WELL, aliases=(HOSTILE,), models=(HOSTILE,))
    view = CollectionView(HOSTILE, (HOSTILE,), view.shards, {HOSTILE: HOSTILE, "": HOSTILE}, (HOSTILE,))
    hit = Hit(HOSTILE, 0.5, HOSTILE, GIF)
    question = Question(HOSTILE, "words", HOSTILE, 5, HOSTILE, HOSTILE)
    replicas = (ReplicaView(HOSTILE, "trusted", 0, 0, {}, None),)
    whole = status(view, replicas=replicas, refusals={HOSTILE: 1}, problem=HOSTILE)
    for found in (Answer((hit,), hit, 1, 1, 0.0), Problem(400, HOSTILE)):
        page = console_page(whole, box(view, max_clip_bytes=1, question=question, found=found), has_keys=True)
        parsed = read(page)
        assert [script.attributes for script in parsed.all("script")] == [{"src": "/console/console.js", "defer": None}]
        assert page.count("<script") == 1
        assert HOSTILE in parsed.text
        hidden = [field.attributes["value"] for field in parsed.all("input") if field.attributes.get("name") == "collection"]
        assert set(hidden) == {HOSTILE}
    for page in (sign_in_page(HOSTILE), problem_page(400, HOSTILE)):
        assert page.count("<script") == 1
        assert HOSTILE in read(page).text


def test_pages_load_nothing_from_elsewhere_and_have_no_script_or_style_of_their_own() -> None:
    view = collection("works", WELL, LOW, models=("text_encoder",))
    found = Answer((Hit("1", 0.5, "kind: video", GIF),), None, 1, 1, 0.0)
    page = console_page(status(view), box(view, max_clip_bytes=1 << 20, question=Question("works"), found=found), has_keys=True)
    parsed = read(page)
    addresses = re.findall(r'(?:src|href|action|data-source)="([^"]*)"', page)
    assert {address.partition(",")[0].partition("?")[0] for address in addresses if not address.startswith("/console")} == {
        "data:image/gif;base64"
    }
    assert [script.text for script in parsed.all("script")] == [""]
    assert parsed.all("style") == []
    assert not re.search(r'\s(?:style|on\w+)="', page)


def test_what_cannot_be_asked_is_replaced_by_a_line_that_says_why() -> None:
    plain = collection("works", WELL)
    assert [form.one("button").text for form in shown(status(plain), box(plain)).all("form")] == ["Find what is like it"]
    text = shown(status(plain), box(plain)).text
    assert "no text encoder was promoted with this collection" in text
    assert "the model media_encoder is not served here" in text
    encoded = collection("works", WELL, models=("text_encoder",))
    forms = shown(status(encoded), box(encoded, max_clip_bytes=16 << 20)).all("form")
    assert [form.one("button").text for form in forms] == ["Find what is like it", "Find what it says", "Upload and find"]
    assert "at most 16 MiB" in forms[2].text
    closed = shown(status(plain), box(plain, may_read=False))
    assert closed.all("form") == []
    assert "no scope read" in closed.text


def test_one_of_several_vectors_can_be_chosen_and_stays_chosen() -> None:
    view = CollectionView("works", shards=(ShardView(WELL),), vectors={"cover": "2 numbers, dot", "sound": "3 numbers, cosine"})
    page = shown(status(view), box(view, question=Question("works", "id", "sound", 5, "8")))
    options = page.one("select").all("option")
    assert [(one.text, "selected" in one.attributes) for one in options] == [("cover", False), ("sound", True)]
    assert {field.attributes["name"]: field.attributes.get("value") for field in page.one("form", method="post").all("input")} == {
        "collection": "works",
        "by": "id",
        "id": "8",
        "limit": "5",
    }


def test_the_picture_of_the_guide_is_small_and_its_page_is_one_of_ours() -> None:
    guides = Path(__file__).resolve().parents[4] / "docs" / "guides"
    assert (guides / "console.png").stat().st_size < 200_000
    assert "](console.png)" in (guides / "console.md").read_text()
    page = read(made_up_page())
    assert page.table("Collections")[0][:2] == ["works@6f1c0a92also works", "low recall"]
    assert len(page.all("img")) == len(page.table("Hits")) == 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (7_300, "2 h"), (40 * 3_600, "40 h"), (10 * 86_400, "10 days")]
)
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words
