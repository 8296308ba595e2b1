import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from reelspace.evaluate.examples import Confusion, Example, Hit
from reelspace.evaluate.gate import GateRow
from reelspace.evaluate.page import Found, figure_rows, middle_frame, render_page

FIGURES = {"teacher": {"video_to_topic_p10": 0.75, "video_to_topic_p10_interval": (0.61, 0.84), "missing": None, "num_parameters": 123456}}
HITS = (Hit(2, 0, 0.9, True), Hit(3, 1, 0.8, False), Hit(4, 1, 0.7, False))
FOUND = Found(
    examples=(Example(1, 0, True, 1 / 3, HITS),),
    confusion=Confusion(np.array([0, 1]), np.array([[0.25, 0.75], [np.nan, np.nan]])),
    topic_names={0: "cats & <dogs>", 1: "ramen"},
)
# Void elements have no end tag.
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that elements close in order, and keeps figures with their class and sources."""

    def __init__(self):
        super().__init__()
        self.open, self.figures, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "figure":
            self.figures.append(values["class"])
        self.sources += [values[name] for name in ("src", "href") if name in values]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def picture(video_id):
    return None if video_id == 4 else middle_frame(np.full((3, 80, 80, 3), 10 * video_id, dtype=np.uint8))


def test_right_and_wrong_neighbours_are_marked_and_pictures_are_in_the_page():
    page = render_page(FIGURES, [], FOUND, picture)
    reader = read(page)
    assert reader.figures == ["asked", "right", "wrong", "wrong"]
    assert [source.partition(",")[0] for source in reader.sources] == ["data:image/jpeg;base64"] * 3
    shown = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in reader.sources]
    assert [round(float(np.asarray(image).mean()) / 10) for image in shown] == [1, 2, 3]
    assert page.count("<b>✓</b>") == 1
    assert page.count("<b>✗</b>") == 2
    assert "33 % right" in page


def test_the_page_needs_nothing_else_escapes_names_and_knows_the_dark():
    page = render_page(FIGURES, [], FOUND, picture)
    assert "http" not in page
    assert "<script" not in page
    assert "url(" not in page
    assert "cats &amp; &lt;dogs&gt;" in page
    assert "<dogs>" not in page
    assert "prefers-color-scheme: dark" in page


def test_shares_of_the_confusion_stand_in_their_cells():
    table = render_page(FIGURES, [], FOUND).partition('<table class="confusion">')[2].partition("</table>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", table) == ["25", "75", "", ""]
    assert "nan" not in table


def test_figures_stand_beside_their_interval_and_the_gate_says_what_failed():
    rows = {row.name: row for row in figure_rows(FIGURES["teacher"])}
    assert list(rows) == ["missing", "num_parameters", "video_to_topic_p10"]
    assert (rows["video_to_topic_p10"].value, rows["video_to_topic_p10"].interval) == ("0.750", "0.610 to 0.840")
    assert rows["missing"].value == "not measured"
    assert rows["num_parameters"].value == "123,456"
    gate = [GateRow("teacher.video_to_topic_p10", 0.6, 0.75), GateRow("student.x", 0.5, None)]
    page = render_page(FIGURES, gate)
    assert page.count('"passed">passed<') == 1
    assert page.count('"refused">refused<') == 1
    assert read(page).figures == []


def test_a_thumbnail_is_the_middle_frame_made_small():
    frames = np.stack([np.full((200, 100, 3), value, dtype=np.uint8) for value in (0, 120, 240)])
    image = Image.open(io.BytesIO(middle_frame(frames)))
    assert image.format == "JPEG"
    assert image.size == (36, 72)
    assert abs(float(np.asarray(image).mean()) - 120) < 3
    assert middle_frame(frames[:0]) is None
