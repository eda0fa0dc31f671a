"""Failing an attempt for the exception that its body was left by."""

import traceback
from collections.abc import Mapping
from typing import Final

from leasehold.adapters.worker_calls import FailureReason
from leasehold.domain import limits
from leasehold.domain.states import FailureClass

FAILURE_CLASSES: Final[Mapping[type[BaseException], FailureClass]] = {
    Exception: FailureClass.TRANSIENT,
    MemoryError: FailureClass.INFRA_CRASH,
    BaseException: FailureClass.INFRA_CRASH,
}
"""What an exception fails an attempt with; the nearest of its classes counts.

All of these are retried, as often as the retry policy says: a library cannot know which
error would come again. What is no `Exception` (an interrupt, the end of the process, a
task that is cancelled) came from outside and says nothing about the work. A
`TimeoutError` is most often one of the network: it is TRANSIENT, too.
"""

_CUT: Final = "…"


def check_failure_classes(
    given: Mapping[type[BaseException], FailureClass] | None,
) -> dict[type[BaseException], FailureClass]:
    """Return the mapping with the defaults for what it leaves out.

    Raises:
        InvalidInputError: A key is no class of exceptions, a value no failure class.
    """
    rule = "a mapping of exception classes to FailureClass"
    if given is None:
        return dict(FAILURE_CLASSES)
    if not isinstance(given, Mapping):
        raise limits.refuse("failure_classes", given, rule)
    classes = dict(FAILURE_CLASSES)
    for error_type, failure_class in given.items():
        if not isinstance(error_type, type) or not issubclass(
            error_type, BaseException
        ):
            raise limits.refuse("failure_classes", error_type, rule)
        try:
            classes[error_type] = FailureClass(failure_class)
        except ValueError:
            raise limits.refuse("failure_classes", failure_class, rule) from None
    return classes


def failure_class_of(
    error: BaseException, classes: Mapping[type[BaseException], FailureClass]
) -> FailureClass:
    """Return what an exception fails the attempt with.

    A group that the mapping does not name counts as the first exception in it.
    """
    for error_type in type(error).__mro__:
        if isinstance(error, BaseExceptionGroup) and error_type is Exception:
            break
        if error_type in classes and error_type is not BaseException:
            return classes[error_type]
    if isinstance(error, BaseExceptionGroup):
        return failure_class_of(error.exceptions[0], classes)
    return classes[BaseException]


def reason_of(error: BaseException) -> FailureReason:
    """Describe an exception: what it says, and its traceback, cut to the limits."""
    message = "".join(traceback.format_exception_only(error)).strip()
    detail = "".join(traceback.format_exception(error))
    return FailureReason(
        _head(_plain(message), limits.TEXT_BYTES_MAX),
        _tail(_plain(detail), limits.DETAIL_BYTES_MAX),
    )


def _plain(text: str) -> bytes:
    """Write what no store takes, NUL and lone surrogates, as escapes."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace")


def _head(text: bytes, bytes_max: int) -> str:
    if len(text) <= bytes_max:
        return text.decode()
    kept = text[: bytes_max - len(_CUT.encode())]
    return kept.decode(errors="ignore") + _CUT


def _tail(text: bytes, bytes_max: int) -> str:
    """Keep the end: there stand the innermost call and the exception."""
    if len(text) <= bytes_max:
        return text.decode()
    kept = text[-(bytes_max - len(_CUT.encode())) :]
    return _CUT + kept.decode(errors="ignore")
