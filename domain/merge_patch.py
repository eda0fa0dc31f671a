"""JSON documents and JSON Merge Patch (RFC 7396).

The rule is RFC 7396, section 2: a patch that is an object is merged member by
member, a null removes the member, anything else replaces. As a merge patch cannot
store a null, the text `__ff_null__` as a value stores one.
"""

import json
import math
from typing import Final, NoReturn

from leasehold.domain import limits
from leasehold.domain.errors import InvalidInputError

NULL_SENTINEL: Final = "__ff_null__"

_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
JsonObject = dict[str, Json]


def canonical_json(value: object) -> str:
    """Write JSON the one way that all JSON columns are written.

    Keys sorted, no spaces, text as it is (not escaped to ASCII).
    """
    return _CANONICAL.encode(value)


def apply(document: Json, patch: Json, *, null_sentinel: str | None) -> Json:
    """Return the document with the patch merged in; neither is changed.

    Args:
        document: What is there.
        patch: What is merged in.
        null_sentinel: The text that stands for a null to be stored; None for none.
    """
    if not isinstance(patch, dict):
        return patch if null_sentinel is None else _with_nulls(patch, null_sentinel)
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = apply(merged.get(key), value, null_sentinel=null_sentinel)
    return merged


def _with_nulls(value: Json, null_sentinel: str) -> Json:
    if value == null_sentinel:
        return None
    if isinstance(value, list):
        return [_with_nulls(item, null_sentinel) for item in value]
    if isinstance(value, dict):
        return {key: _with_nulls(item, null_sentinel) for key, item in value.items()}
    return value


def parse_patch(payload: bytes) -> JsonObject:
    """Read the payload of a summary frame.

    Raises:
        InvalidInputError: Not JSON, not an object, nested deeper than 64, with a
            number that is not finite, or with text that is not UTF-8 or has a NUL.
    """
    rule = "a summary frame's payload must be a JSON object"
    try:
        patch = json.loads(payload.decode(), parse_constant=_refuse_constant)
    except InvalidInputError:
        raise
    except (ValueError, RecursionError) as error:
        message = f"{rule}; it is not JSON that can be read: {type(error).__name__}"
        raise InvalidInputError(f"{message}: {error}") from None
    if not isinstance(patch, dict):
        message = f"{rule}; it is a JSON {_json_kind(patch)}"
        raise InvalidInputError(message)
    _check_tree(patch)
    return patch


def check_document_size(document_json: str) -> None:
    """Refuse a summary document of more than 1 MiB."""
    size = len(document_json.encode())
    if size > limits.SUMMARY_BYTES_MAX:
        message = (
            f"the summary document would have {size} bytes; "
            f"at most {limits.SUMMARY_BYTES_MAX} are kept"
        )
        raise InvalidInputError(message)


def _refuse_constant(constant: str) -> NoReturn:
    message = f"a summary holds finite numbers only; got {constant}"
    raise InvalidInputError(message)


def _json_kind(value: Json) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _check_tree(document: JsonObject) -> None:
    level: list[Json] = [document]
    depth = 0
    while level:
        depth += 1
        below: list[Json] = []
        for value in level:
            _check_scalar(value)
            if isinstance(value, dict):
                for key in value:
                    _check_scalar(key)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if depth > limits.SUMMARY_DEPTH_MAX and any(
            isinstance(value, dict | list) for value in level
        ):
            message = f"a summary is at most {limits.SUMMARY_DEPTH_MAX} deep"
            raise InvalidInputError(message)
        level = below


def _check_scalar(value: Json) -> None:
    if isinstance(value, str):
        limits.text("text in a summary", value, bytes_max=limits.SUMMARY_BYTES_MAX)
    elif isinstance(value, float) and not math.isfinite(value):
        message = "a summary holds finite numbers only; got one too large for a float"
        raise InvalidInputError(message)
