"""Masks, and the audit that counts them: planted persons leave no trace in any file."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reelspace.signals.audit import Audit
from reelspace.signals.label_files import write_labels
from reelspace.signals.masks import marks_in
from reelspace.signals.normal_forms import NormalForms, public_text
from reelspace.signals.settings import SignalsSettings

from .conftest import WriteTables

SECRETS = (
    ("13800001111", "number"),
    ("138-0000-1111", "number"),
    ("138 0000 1111", "number"),
    ("138.0000.1111", "number"),
    ("１３８００００１１１１", "number"),
    ("一三八零零零零一一一一", "number"),
    ("①③⑧⓪⓪⓪⓪①①①①", "number"),
    ("1️⃣3️⃣8️⃣0️⃣0️⃣0️⃣0️⃣", "number"),
    ("138😂0000😂1111", "number"),
    ("1380000", "number"),
    ("@xiaoming_88", "handle"),
    ("＠小明同学", "handle"),
    ("@Young heben(O3xab99cd)", "handle"),
    ("me.too@mail-box.com", "email"),
    ("https://weibo.com/u/abc?x=1", "url"),
    ("weibo.com/abcdefg", "url"),
)
ACCOUNTS = (
    ("微信：", "lovecat_88"),
    ("微信", "abc12345"),
    ("VX ", "lovecats"),
    ("ｖｘ：", "ａｂｃ１２３４５"),
    ("wx:", "lovecat-88"),
    ("QQ ", "123456"),
    ("qq号：", "98765"),
    ("加v", "lovecat88"),
    ("➕V ", "lovecat88"),
    ("加微 ", "lovecat88"),
)
ORDINARY = (
    "iPhone 12 Pro Max 256GB 😂⚽️",
    "2020",
    "2019-2020年 2018 2019 2020",
    "2020-07-01 12:30, 2020.7.1 and 2020/12/31",
    "￥1299 and $1,299,000 or ￥1999999, 8000000元",
    "123456 and 12,345 and 3.14159",
    "三三两两 一心一意 双十一 二〇二〇年 一二三四五六七",
    "QQ音乐 微信小视频 QQ糖 加我vx就现在 wechat program",
    "5 @ 7, meet @ noon; win10/11 and/or c+vitamins",
    "上海80岁爷爷 打110 或12306 4s店 99 100",
)


@pytest.mark.parametrize(("secret", "kind"), SECRETS)
def test_what_tells_a_person_apart_is_masked_and_the_words_around_stay(secret: str, kind: str) -> None:
    shown = public_text(f"你好 {secret} bye")
    assert shown.startswith("你好 ")
    assert shown.endswith(" bye")
    assert secret not in shown
    assert marks_in(shown) == Counter({kind: 1})
    assert public_text(shown) == shown


@pytest.mark.parametrize(("app", "account"), ACCOUNTS)
def test_the_account_behind_the_name_of_an_app_is_masked(app: str, account: str) -> None:
    shown = public_text(f"快来 {app}{account} 哦")
    assert shown == f"快来 {app}*** 哦"
    assert marks_in(shown) == Counter({"account": 1})


@pytest.mark.parametrize("text", ORDINARY)
def test_years_prices_small_numbers_and_products_stay(text: str) -> None:
    assert public_text(text) == text
    assert not marks_in(text)


def test_hidden_characters_do_not_hide_a_number() -> None:
    assert public_text("138\u200b0000\u20601111") == "***"


def test_a_long_text_of_one_letter_is_read_in_no_time() -> None:
    for unit in ("a", "a.", "1-", "@(", "加", "2020-", "二", "qq "):
        start = time.monotonic()
        public_text(unit * 100_000 + "@x")
        assert time.monotonic() - start < 5, unit


def test_normal_forms_of_tags_and_queries_hold_no_account() -> None:
    forms = NormalForms()
    assert forms.tag("加V：lovecat88") == "加v"
    assert forms.tag("双十一2020-11-11") == "双十一"
    assert forms.tag("13800001111") == "***"
    assert forms.query("加v：lovecat88 教程!") == "加v *** 教程"
    assert forms.query("@xiaoming_88 dance") == "*** dance"


def test_the_audit_counts_by_table_column_and_kind_and_keeps_no_secret(tmp_path: Path) -> None:
    audit = Audit()
    columns = {
        "id": [1, 2, 3],
        "text": ["call 13800001111 or 13900002222", None, "quiet"],
        "texts": [["@bob hi", "ok"], [], None],
        "evidence": [json.dumps({"tags": {"vx lovecat88": 0.5, "vx lovecat99": 0.7}}), "{}", "{}"],
    }
    kinds = {"id": pa.int64(), "text": pa.large_string(), "texts": pa.list_(pa.large_string()), "evidence": pa.large_string()}
    audit.write_columns(tmp_path / "things.parquet", columns, kinds)
    written = pq.read_table(tmp_path / "things.parquet").to_pydict()
    assert written["text"] == ["call *** or ***", None, "quiet"]
    assert written["texts"] == [["@*** hi", "ok"], [], None]
    assert json.loads(written["evidence"][0]) == {"tags": {"vx ***": 0.7}}
    found = {(row.column, row.kind): (row.num_texts, row.num_masked) for row in audit.rows() if row.num_masked}
    assert found == {("text", "number"): (2, 2), ("texts", "handle"): (2, 1), ("evidence", "account"): (3, 2)}
    audit.write_counts(tmp_path / "audit.json")
    assert not any(secret in (tmp_path / "audit.json").read_text() for secret in ("138", "bob", "lovecat"))


PLANTED = (
    "13800001111",
    "138-0000-2222",
    "１３８００００３３３３",
    "一三八零零零零四四四四",
    "lovecat88",
    "kitty_99x",
    "xiaoming_88",
    "老王555",
    "ann@mail",
)
USER_IDS = tuple(88_000_000 + number for number in range(8))


def _planted_tables(write_tables: WriteTables) -> Path:
    tags = "#camera #加vx13800001111 #找我V信lovecat88 #13800001111"
    captions = [f"my camera 微信：lovecat88 @xiaoming_88 tel 138-0000-2222 {tags}" for _ in range(6)]
    queries = ["camera kitty_99x qq 77665544", "camera 13800001111", "@老王555 camera", "camera 微信 kitty_99x"]
    # a word that most works share says nothing: others play the guitar
    captions += ["strings and chords #guitar" for _ in range(30)]
    comments = [
        "what a fine camera, ask @老王555 please",
        f"a camera like this, １３８００００３３３３ {USER_IDS[0]}",
        "camera lens is sharp, 电话一三八零零零零四四四四",
        "the camera bag, mail ann@mail.com or https://t.me/lovecat88 加微 kitty_99x",
    ]
    return write_tables(
        videos=[
            {"video_id": number, "caption": text, "creator_id": 500 + number, "cover_text": "vx lovecat88", "categories": ["photo"]}
            for number, text in enumerate(captions)
        ],
        searches=[{"search_id": search, "user_id": USER_IDS[search % 8], "query": queries[search % 4]} for search in range(32)],
        clicks=[{"search_id": search, "video_id": video} for search in range(32) for video in range(6)],
        comments=[
            {"comment_id": 10 * video + place, "video_id": video, "user_id": USER_IDS[place], "text": text}
            for video in range(6)
            for place, text in enumerate(comments)
        ],
    )


def _cells(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def test_planted_persons_and_user_ids_are_in_no_byte_and_no_cell_of_any_file(write_tables: WriteTables, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    settings = {"searches": {"min_users": 1}, "vocabulary": {"min_works": 1}, "comments": {"min_relevance": -1.0, "max_work_share": 1.0}}
    write_labels(_planted_tables(write_tables), out, SignalsSettings.model_validate(settings))
    names = {path.name for path in out.iterdir()}
    assert {
        "texts.parquet",
        "vocabulary.parquet",
        "video_labels.parquet",
        "tag_uses.parquet",
        "report.json",
        "report.html",
        "audit.json",
    } <= names
    for path in out.iterdir():
        raw = path.read_bytes()
        text = _cells(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else raw.decode()
        for secret in (*PLANTED, "77665544", *map(str, USER_IDS)):
            assert secret.encode() not in raw, (path.name, secret)
            assert secret not in text, (path.name, secret)
    counted = {(row["table"], row["column"]) for row in json.loads((out / "audit.json").read_bytes()) if row["num_masked"]}
    assert {("texts", "caption"), ("texts", "queries"), ("texts", "comments"), ("tag_uses", "tag"), ("video_labels", "evidence")} <= counted


def test_the_words_around_planted_persons_are_still_there(write_tables: WriteTables, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    settings = {"searches": {"min_users": 1}, "comments": {"min_relevance": -1.0, "max_work_share": 1.0}}
    write_labels(_planted_tables(write_tables), out, SignalsSettings.model_validate(settings))
    first = pq.read_table(out / "texts.parquet").to_pylist()[0]
    assert first["caption"] == "my camera 微信：*** @*** tel ***"
    assert "camera ***" in first["queries"]
    assert "what a fine camera, ask @*** please" in first["comments"]
    assert "camera" in pq.read_table(out / "vocabulary.parquet")["text"].to_pylist()
