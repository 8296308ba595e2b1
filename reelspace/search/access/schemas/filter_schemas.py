"""JSON Schemas of what `filter_request` takes."""

from typing import Final

from reelspace.search.access.filter_request import BOUNDS, MAX_CONDITIONS, MAX_INTEGER, MAX_POINT_ID, MAX_TEXT_BYTES, MAX_VALUES, UUID_FORMS
from reelspace.search.access.schemas.shapes import FLAG, Schema, listed, one_of, record, ref, text, whole
from reelspace.search.storage.payload_path import MAX_KEY_CHARS

# \w has the letters of every script in Python, and of ASCII in JavaScript, after which JSON Schema goes.
_NAME: Final = r'("[^"]*"|([A-Za-z0-9_-]|[^\x00-\x7f])+)(\[[0-9]{0,19}\])*'
_INTEGER: Final = whole(-MAX_INTEGER - 1, MAX_INTEGER)
_TEXT: Final = text(maxLength=MAX_TEXT_BYTES)
_COUNT: Final = whole(0, MAX_INTEGER)
_CONDITIONS: Final = one_of(ref("Condition"), listed(ref("Condition"), MAX_CONDITIONS))
_VALUES: Final = one_of(listed(_TEXT, MAX_VALUES), listed(_INTEGER, MAX_VALUES))


def _bounds(bound: Schema) -> Schema:
    return record({}, dict.fromkeys(BOUNDS, bound))


def _test(name: str, schema: Schema) -> Schema:
    return record({"key": ref("PayloadKey"), name: schema})


SCHEMAS: Final[dict[str, Schema]] = {
    "PointId": one_of(whole(0, MAX_POINT_ID), text(pattern=f"^(?:{UUID_FORMS})$"), description="A whole number or a UUID."),
    "PayloadKey": text(
        pattern=rf"^{_NAME}(\.{_NAME})*$",
        minLength=1,
        maxLength=MAX_KEY_CHARS,
        description='The key of a payload value, in letters of any script: a.b, a[].b for every item, a[0] for one, "odd key".b.',
    ),
    "Match": one_of(record({"value": one_of(_TEXT, _INTEGER, FLAG)}), record({"any": _VALUES}), record({"except": _VALUES})),
    "Range": one_of(
        _bounds({"type": "number"}),
        _bounds(text(format="date-time")),
        description="Numbers, or times as 2026-11-23T10:00:00Z; also a day alone, and times without a zone, which are UTC.",
    ),
    "Condition": one_of(
        _test("match", ref("Match")),
        _test("range", ref("Range")),
        _test("values_count", _bounds(_COUNT)),
        _test("is_empty", FLAG),
        _test("is_null", FLAG),
        record({"has_id": listed(ref("PointId"), MAX_VALUES)}),
        record({"is_empty": record({"key": ref("PayloadKey")})}),
        record({"is_null": record({"key": ref("PayloadKey")})}),
        ref("Filter"),
    ),
    "Filter": record(
        {},
        {
            **dict.fromkeys(("must", "should", "must_not"), _CONDITIONS),
            "min_should": record({"conditions": listed(ref("Condition"), MAX_CONDITIONS), "min_count": whole(1, MAX_INTEGER)}),
        },
        description=f"At most {MAX_CONDITIONS} conditions, and {MAX_VALUES} values and ids in them, in all.",
    ),
}
