"""Summary frames: a document per attempt, changed by JSON Merge Patch."""

import json

import pytest

import leasehold

MIB = 1024 * 1024


@pytest.fixture
def patch(ledger):
    def apply(handle, document):
        payload = document if isinstance(document, bytes) else json.dumps(document)
        if isinstance(payload, str):
            payload = payload.encode()
        return ledger.append_frame(
            handle, leasehold.Frame(payload, mode=leasehold.Summary())
        )

    return apply


@pytest.fixture
def document(sql):
    def read(handle):
        (row,) = sql(
            "SELECT document_json FROM summary"
            " WHERE execution_id = ? AND attempt_index = ?",
            handle.execution_id,
            handle.attempt_index,
        )
        return json.loads(row["document_json"])

    return read


def stored(value):
    """Write nulls as the string that stores one."""
    if value is None:
        return "__ff_null__"
    if isinstance(value, dict):
        return {key: stored(member) for key, member in value.items()}
    if isinstance(value, list):
        return [stored(member) for member in value]
    return value


# RFC 7396, appendix A: target, patch, result.
RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "change", "result"), RFC_7396)
def test_the_cases_of_the_rfc_hold_one_level_down(
    target, change, result, start, patch, document
) -> None:
    handle = start()
    patch(handle, {"t": stored(target)})
    assert document(handle) == {"t": target}
    patch(handle, {"t": change})
    assert document(handle) == {"t": result}


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [case for case in RFC_7396 if all(isinstance(part, dict) for part in case)],
)
def test_the_cases_of_the_rfc_hold_for_whole_documents(
    target, change, result, start, patch, document
) -> None:
    handle = start()
    patch(handle, stored(target))
    patch(handle, change)
    assert document(handle) == result


def test_a_null_at_any_depth_of_the_patch_removes(start, patch, document) -> None:
    handle = start()
    patch(handle, {"a": {"b": {"c": 1, "d": 2}}, "e": 3})
    patch(handle, {"a": {"b": {"c": None}}, "e": None, "never": None})
    assert document(handle) == {"a": {"b": {"d": 2}}}


def test_a_null_in_an_array_is_a_null(start, patch, document) -> None:
    handle = start()
    patch(handle, {"a": [1, None, {"b": None}]})
    assert document(handle) == {"a": [1, None, {"b": None}]}


def test_the_word_for_null_stores_a_null(start, patch, document) -> None:
    handle = start()
    patch(handle, {"a": "__ff_null__", "b": {"c": "__ff_null__"}})
    assert document(handle) == {"a": None, "b": {"c": None}}


def test_the_word_for_null_as_a_key_is_a_key(start, patch, document) -> None:
    handle = start()
    patch(handle, {"__ff_null__": 1, "a": "__ff_null__ and more"})
    assert document(handle) == {"__ff_null__": 1, "a": "__ff_null__ and more"}


def test_numbers_are_stored_as_given(start, patch, sql) -> None:
    handle = start()
    patch(handle, b'{"a":0.1,"b":12345678901234567890,"c":-1,"d":1e300,"e":2.50}')
    (row,) = sql("SELECT document_json FROM summary")
    assert row["document_json"] == (
        '{"a":0.1,"b":12345678901234567890,"c":-1,"d":1e+300,"e":2.5}'
    )


def test_versions_grow_by_one_from_one(start, patch, sql) -> None:
    handle = start()
    versions = [patch(handle, {"n": n}).summary_version for n in range(4)]
    assert versions == [1, 2, 3, 4]
    rows = sql("SELECT summary_version, mode FROM stream_frame ORDER BY ts_ms, seq")
    assert rows == [{"summary_version": n, "mode": "summary"} for n in versions]


def test_the_row_tells_when_and_how(clock, start, patch, sql) -> None:
    handle = start()
    first = clock()
    patch(handle, {"b": [1, {"d": "ü", "c": True}], "a": 1.5})
    clock.advance(50)
    patch(handle, {})
    (row,) = sql("SELECT * FROM summary")
    assert row["version"] == 2
    assert row["patch_kind"] == "json-merge-patch"
    assert row["first_applied_ms"] == first
    assert row["last_updated_ms"] == clock()
    text = row["document_json"]
    assert text.startswith('{"a":1.5,"b":[1,{"c":true,"d":')
    assert json.loads(text)["b"][1]["d"] == "ü"


def test_each_attempt_has_a_document_of_its_own(
    ledger, clock, start, patch, document
) -> None:
    old = start(ttl=1_000)
    patch(old, {"a": 1})
    clock.advance(1_000)
    new = ledger.claim(worker_id="w2")
    assert patch(new, {"b": 2}).summary_version == 1
    assert document(old) == {"a": 1}
    assert document(new) == {"b": 2}


def test_a_resume_goes_on_with_the_same_document(
    ledger, clock, start, patch, document
) -> None:
    handle = start(ttl=1_000)
    patch(handle, {"a": 1})
    clock.advance(1_000)
    grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w2")
    resumed = ledger.claim_from_resume_grant(grant, worker_id="w2")
    assert patch(resumed, {"b": 2}).summary_version == 2
    assert document(resumed) == {"a": 1, "b": 2}


NO_OBJECTS = {
    "nothing": b"",
    "not JSON": b"{",
    "single quotes": b"{'a':1}",
    "array": b"[]",
    "text": b'"a"',
    "number": b"1",
    "null": b"null",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "number too large": b'{"a":1e999}',
    "number too small": b'{"a":[-1e999]}',
    "not UTF-8": b'{"a":"\xff"}',
    "NUL": b'{"a":"\\u0000"}',
    "NUL in a key": b'{"\\u0000":1}',
    "lone surrogate": b'{"a":"\\ud800"}',
    "trailing": b"{} {}",
    "a number of too many digits": b'{"a":' + b"9" * 5_000 + b"}",
    "too deep": b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "far too deep": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
}


@pytest.mark.parametrize("case", NO_OBJECTS)
def test_what_is_no_json_object_is_refused_and_no_frame(
    case, start, patch, snapshot
) -> None:
    handle = start()
    patch(handle, {"kept": True})
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError) as refused:
        patch(handle, NO_OBJECTS[case])
    assert refused.value.code == "invalid_input"
    assert snapshot() == before


def test_sixty_four_levels_are_accepted(start, patch, document) -> None:
    handle = start()
    patch(handle, b'{"a":' + b"[" * 63 + b"]" * 63 + b"}")
    value, depth = document(handle), 0
    while value:
        value, depth = (value["a"] if isinstance(value, dict) else value[0]), depth + 1
    assert depth == 63  # The innermost of the 64 is empty.


def test_a_document_of_one_mib_is_the_largest(start, patch, sql, snapshot) -> None:
    handle = start()
    around = len('{"a":"","b":""}')
    patch(handle, {"a": "x" * (MIB // 2)})
    patch(handle, {"b": "y" * (MIB - MIB // 2 - around)})
    (row,) = sql("SELECT document_json FROM summary")
    assert len(row["document_json"]) == MIB
    before = snapshot()
    with pytest.raises(leasehold.InvalidInputError, match=r"1,?048,?576|1 MiB"):
        patch(handle, {"c": 1})
    assert snapshot() == before
    assert patch(handle, {"a": None}).summary_version == 3
