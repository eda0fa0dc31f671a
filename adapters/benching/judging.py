"""The verdict on a store that processes worked on and that some of them crashed on."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.benching.witness import KINDS_OF_FAULTS, NAMED_MAX, Witness
from leasehold.adapters.ledger import Ledger
from leasehold.adapters.verifying import VerifyReport
from leasehold.adapters.walking import Progress
from leasehold.domain.findings import Severity

Metering = Callable[[str], AbstractContextManager[Progress]]
"""Gives what is told how far something is that goes through the log: `verifying`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in a store, and in what its workers told.

    Attributes:
        executions: How many the log has.
        audit: Of the log and the rows.
        verify: Of the log and the rows.
        wrong: How often there was what must not be, by kind: those of `Faults`,
            `verify` for faults and `audit` for errors.
        texts: The first of each kind, in words.
    """

    executions: int
    audit: AuditReport
    verify: VerifyReport
    wrong: Mapping[str, int]
    texts: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing that must not be."""
        return not any(self.wrong.values())


def judge(ledger: Ledger, witness: Witness, metering: Metering) -> Verdict:
    """Hold the log against what was told; verify and audit it, with its rows.

    Nobody may be writing any more.
    """
    with metering("counting") as progress:
        executions = witness.check_log(ledger, progress)
    witness.check_overlaps()
    with metering("verifying") as progress:
        verify = ledger.verify(progress=progress)
    with metering("auditing") as progress:
        audit = ledger.audit(progress=progress)
    faults = witness.faults
    wrong = {kind: faults.counts[kind] for kind in KINDS_OF_FAULTS}
    wrong["verify"] = verify.fault_count
    wrong["audit"] = sum(
        count
        for check, count in audit.counts.items()
        if check.severity is Severity.ERROR
    )
    errors = [
        f"audit: {finding.check}: {finding.text}"
        for finding in audit.findings
        if finding.severity is Severity.ERROR
    ]
    texts = (
        *faults.texts,
        *(f"verify: {fault.text}" for fault in verify.faults[:NAMED_MAX]),
        *errors[:NAMED_MAX],
    )
    return Verdict(executions, audit, verify, wrong, texts)
