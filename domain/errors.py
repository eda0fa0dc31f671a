"""Every error that leasehold raises, under one tree.

LeaseholdError
├─ InvalidInputError (ValueError)   invalid_input, corrupt_handle,
│                                   handle_from_other_backend
├─ NotFoundError (LookupError)      not_found
├─ ConflictError                    conflict
├─ ContentionError
│  ├─ LeaseConflictError            lease_conflict
│  ├─ LeaseExpiredError             lease_expired
│  ├─ LeaseRevokedError             lease_revoked
│  ├─ ExecutionNotActiveError       execution_not_active
│  └─ InvalidGrantError             invalid_grant
├─ IllegalTransitionError           illegal_transition
└─ StoreError                       store_busy, schema_version, corrupt_event,
                                    store_unavailable
"""

from typing import ClassVar


class LeaseholdError(Exception):
    """Stand above every error of this library.

    Attributes:
        code: A stable word for machines, one of those in the tree of this module.
        retryable: Whether the same call may succeed later with nothing changed by
            the caller.
    """

    code: str = "error"
    retryable: bool = False
    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, message: str, *, code: str | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class InvalidInputError(LeaseholdError, ValueError):
    """Say that an argument breaks a rule; nothing was written."""

    code = "invalid_input"
    codes = ("invalid_input", "corrupt_handle", "handle_from_other_backend")


class NotFoundError(LeaseholdError, LookupError):
    """Say that the execution or the attempt is not in this store."""

    code = "not_found"
    codes = ("not_found",)


class ConflictError(LeaseholdError):
    """Say that the call contradicts what is stored under the same id or key."""

    code = "conflict"
    codes = ("conflict",)


class ContentionError(LeaseholdError):
    """Stand above the refusals of a caller who no longer has, or never had, a right."""


class LeaseConflictError(ContentionError):
    """Say that another lease than the one presented is the current one."""

    code = "lease_conflict"
    codes = ("lease_conflict",)


class LeaseExpiredError(ContentionError):
    """Say that the lease ran out, even if nobody has taken the work over yet."""

    code = "lease_expired"
    codes = ("lease_expired",)


class LeaseRevokedError(ContentionError):
    """Say that an operator took the lease away."""

    code = "lease_revoked"
    codes = ("lease_revoked",)


class ExecutionNotActiveError(ContentionError):
    """Say that nobody holds the execution: it waits or has ended.

    Attributes:
        lifecycle_phase: The phase that the execution is in.
        public_state: The state that users are shown.
    """

    code = "execution_not_active"
    codes = ("execution_not_active",)

    def __init__(
        self, message: str, *, lifecycle_phase: str, public_state: str
    ) -> None:
        super().__init__(message)
        self.lifecycle_phase = lifecycle_phase
        self.public_state = public_state

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross processes with its two attributes."""
        return (
            _not_active,
            (str(self), self.lifecycle_phase, self.public_state),
        )


class InvalidGrantError(ContentionError):
    """Say that a resume grant is unknown, used, run out or another worker's."""

    code = "invalid_grant"
    codes = ("invalid_grant",)


class IllegalTransitionError(LeaseholdError):
    """Say that the state of the execution does not allow the call."""

    code = "illegal_transition"
    codes = ("illegal_transition",)


class StoreError(LeaseholdError):
    """Say that the store could not do its part; the call had no effect unless said."""

    code = "store_unavailable"
    codes = ("store_busy", "schema_version", "corrupt_event", "store_unavailable")


def _not_active(
    message: str, lifecycle_phase: str, public_state: str
) -> ExecutionNotActiveError:
    return ExecutionNotActiveError(
        message, lifecycle_phase=lifecycle_phase, public_state=public_state
    )
