"""JSON Merge Patch: the examples of RFC 7396, the stored null, and the limits."""

import json
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leasehold.domain.errors import InvalidInputError
from leasehold.domain.merge_patch import (
    NULL_SENTINEL,
    apply,
    canonical_json,
    check_document_size,
    parse_patch,
)

# RFC 7396, appendix A: original, patch, result.
APPENDIX_A = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"a":1,"e":null}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize("sentinel", [None, NULL_SENTINEL])
@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_the_examples_of_the_rfc_hold(original, patch, result, sentinel) -> None:
    merged = apply(json.loads(original), json.loads(patch), null_sentinel=sentinel)
    assert canonical_json(merged) == result


SENTINELS = [
    ({}, {"a": "__ff_null__"}, {"a": None}),
    ({"a": 1}, {"a": "__ff_null__"}, {"a": None}),
    ({"a": None}, {"a": None}, {}),
    ({}, {"a": {"b": "__ff_null__"}}, {"a": {"b": None}}),
    ({}, {"a": [1, "__ff_null__", ["__ff_null__"]]}, {"a": [1, None, [None]]}),
    ({}, {"a": [{"b": "__ff_null__"}]}, {"a": [{"b": None}]}),
    ({}, {"a": [{"b": None}]}, {"a": [{"b": None}]}),
    ({}, {"__ff_null__": 1}, {"__ff_null__": 1}),
    ({}, {"a": "__ff_null__ "}, {"a": "__ff_null__ "}),
    ({"a": None}, {"b": 2}, {"a": None, "b": 2}),
]


@pytest.mark.parametrize(("document", "patch", "merged"), SENTINELS)
def test_the_sentinel_stores_a_null_as_a_value(document, patch, merged) -> None:
    assert apply(document, patch, null_sentinel="__ff_null__") == merged


def test_without_a_sentinel_its_text_is_text() -> None:
    patch = {"a": "__ff_null__", "b": ["__ff_null__"]}
    assert apply({}, patch, null_sentinel=None) == patch


numbers = st.integers(-(2**60), 2**60) | st.floats(
    allow_nan=False, allow_infinity=False
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
documents = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(texts, documents, max_size=4)


def rfc_merge(target, patch):
    """MergePatch of RFC 7396, section 2, word for word."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = rfc_merge(target.get(name), value)
        return target
    return patch


@given(documents, documents)
def test_a_merge_is_the_algorithm_of_the_rfc(document, patch) -> None:
    expected = rfc_merge(deepcopy(document), deepcopy(patch))
    assert apply(document, patch, null_sentinel=None) == expected


@given(documents, documents)
def test_a_merge_changes_neither_side(document, patch) -> None:
    before = deepcopy((document, patch))
    apply(document, patch, null_sentinel=NULL_SENTINEL)
    assert (document, patch) == before


@given(documents, objects)
def test_a_merge_repeated_changes_nothing(document, patch) -> None:
    once = apply(document, patch, null_sentinel=NULL_SENTINEL)
    assert apply(once, patch, null_sentinel=NULL_SENTINEL) == once


@given(objects)
def test_any_object_that_fits_is_read_as_it_is(document) -> None:
    assert parse_patch(json.dumps(document).encode()) == document
    assert parse_patch(canonical_json(document).encode()) == document


@given(objects)
def test_the_canonical_text_does_not_depend_on_the_order(document) -> None:
    backwards = dict(reversed(document.items()))
    assert canonical_json(document) == canonical_json(backwards)
    assert json.loads(canonical_json(document)) == document


def test_the_canonical_text_has_sorted_keys_no_spaces_and_no_escapes() -> None:
    document = {"b": [1, {"d": 2.5, "c": None}], "a": "é"}
    assert canonical_json(document) == '{"a":"é","b":[1,{"c":null,"d":2.5}]}'


def test_no_number_that_is_not_finite_is_written() -> None:
    with pytest.raises(ValueError, match="float"):
        canonical_json({"a": float("nan")})


def objects_deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def lists_deep(levels: int) -> bytes:
    inner = levels - 1
    return b'{"a":' + b"[" * inner + b"]" * inner + b"}"


@pytest.mark.parametrize("deep", [objects_deep, lists_deep])
def test_a_summary_is_64_deep_and_no_deeper(deep) -> None:
    parse_patch(deep(64))
    for levels in (65, 66, 5_000, 200_000):
        with pytest.raises(InvalidInputError):
            parse_patch(deep(levels))


NO_PATCHES = {
    "nothing": b"",
    "text": b"halfway",
    "an array": b"[]",
    "a string": b'"a"',
    "a number": b"1",
    "a null": b"null",
    "a boolean": b"true",
    "two objects": b"{}{}",
    "a comma too many": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "no UTF-8": b'{"a":"\xff"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":[Infinity]}',
    "minus Infinity": b'{"a":{"b":-Infinity}}',
    "a number over all floats": b'{"a":1e999}',
    "a NUL": b'{"a":"\\u0000"}',
    "a NUL in a key": b'{"\\u0000":1}',
    "a lone surrogate": b'{"a":["\\ud800"]}',
    "a lone surrogate in a key": b'{"a":{"\\udfff":1}}',
    "a whole number of 5000 digits": b'{"a":%s}' % (b"9" * 5_000),
}


@pytest.mark.parametrize("case", NO_PATCHES)
def test_what_is_no_patch_is_refused(case) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse_patch(NO_PATCHES[case])
    assert raised.value.code == "invalid_input"


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"[]", "array"),
        (b'"a"', "string"),
        (b"1", "number"),
        (b"1.5", "number"),
        (b"null", "null"),
        (b"true", "boolean"),
    ],
)
def test_what_is_no_object_is_told_by_its_kind(payload, kind) -> None:
    with pytest.raises(InvalidInputError, match=f"it is a JSON {kind}"):
        parse_patch(payload)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_patch_or_invalid_and_nothing_else(payload) -> None:
    try:
        patch = parse_patch(payload)
    except InvalidInputError:
        return
    assert isinstance(patch, dict)


def test_a_document_is_a_mebibyte_and_no_larger() -> None:
    check_document_size("é" * 524_288)
    with pytest.raises(InvalidInputError, match="1048577 bytes"):
        check_document_size("é" * 524_288 + "x")
