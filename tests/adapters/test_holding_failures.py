"""What an exception fails an attempt with, and how it is described."""

import asyncio

import pytest

import leasehold
from leasehold import FailureClass
from leasehold.adapters.holding.failing import (
    check_failure_classes,
    failure_class_of,
    reason_of,
)
from leasehold.domain import limits

TRANSIENT = FailureClass.TRANSIENT
INFRA_CRASH = FailureClass.INFRA_CRASH
PERMANENT = FailureClass.PERMANENT


def raised(error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        fail()
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), TRANSIENT),
        (TimeoutError("x"), TRANSIENT),
        (OSError("x"), TRANSIENT),
        (leasehold.IllegalTransitionError("x"), TRANSIENT),
        (MemoryError(), INFRA_CRASH),
        (KeyboardInterrupt(), INFRA_CRASH),
        (SystemExit(0), INFRA_CRASH),
        (GeneratorExit(), INFRA_CRASH),
        (asyncio.CancelledError(), INFRA_CRASH),
        (ExceptionGroup("x", [ValueError("x")]), TRANSIENT),
        (ExceptionGroup("x", [MemoryError()]), INFRA_CRASH),
        (BaseExceptionGroup("x", [KeyboardInterrupt()]), INFRA_CRASH),
    ],
    ids=repr,
)
def test_the_defaults_are_retried(error, expected):
    assert failure_class_of(error, check_failure_classes(None)) is expected


def test_the_nearest_class_counts():
    classes = check_failure_classes(
        {OSError: PERMANENT, TimeoutError: "timeout", BaseException: "cancelled"}
    )
    assert failure_class_of(ConnectionError(), classes) is PERMANENT
    assert failure_class_of(TimeoutError(), classes) is FailureClass.TIMEOUT
    assert failure_class_of(ValueError(), classes) is TRANSIENT
    assert failure_class_of(SystemExit(), classes) is FailureClass.CANCELLED


def test_a_group_counts_as_its_first_exception_unless_it_is_named():
    group = ExceptionGroup(
        "of a task group", [ExceptionGroup("", [KeyError("x")]), OSError("x")]
    )
    assert failure_class_of(group, check_failure_classes({KeyError: PERMANENT})) is (
        PERMANENT
    )
    named = check_failure_classes({KeyError: PERMANENT, ExceptionGroup: TRANSIENT})
    assert failure_class_of(group, named) is TRANSIENT


@pytest.mark.parametrize(
    "given",
    [{ValueError: "often"}, {"ValueError": PERMANENT}, {int: PERMANENT}, [ValueError]],
    ids=repr,
)
def test_a_mapping_that_is_none_is_refused(given):
    with pytest.raises(leasehold.InvalidInputError, match="failure_classes"):
        check_failure_classes(given)


def test_the_reason_is_what_the_exception_says_with_its_traceback():
    reason = reason_of(raised(ValueError("it broke")))
    assert reason.message == "ValueError: it broke"
    assert reason.detail.startswith("Traceback")
    assert "in fail" in reason.detail
    assert reason.detail.strip().endswith("ValueError: it broke")


@pytest.mark.parametrize("text", ["é" * 60_000, "x" * 200_000, "a\0b\ud800c", ""])
def test_the_reason_is_within_the_limits(text):
    reason = reason_of(raised(ValueError(text)))
    limits.text("message", reason.message, bytes_min=1, bytes_max=4_096)
    limits.text("detail", reason.detail, bytes_min=1, bytes_max=64 * 1024)
    if len(text) > 1_000:
        assert reason.message.startswith("ValueError: ")
        assert reason.message.endswith("…")
        assert reason.detail.startswith("…")
        assert len(reason.message.encode()) > 4_090
    else:
        assert "…" not in reason.message


def test_an_exception_that_cannot_be_printed_is_described_all_the_same():
    class UnprintableError(Exception):
        def __str__(self):
            raise ZeroDivisionError

    assert "Unprintable" in reason_of(raised(UnprintableError())).message
