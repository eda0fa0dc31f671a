"""The table `summary`: the document that an attempt's summary frames add up to."""

from typing import Final

from leasehold.domain.frames import FrameAppended, FrameMode
from leasehold.domain.merge_patch import NULL_SENTINEL, parse_patch
from leasehold.projections.changes import Changes, Merge, Place, Rules

TABLE: Final = "summary"
PATCH_KIND: Final = "json-merge-patch"

rules: Final = Rules()


@rules.on(FrameAppended)
def merged(event: FrameAppended, place: Place) -> Changes:
    """Merge a summary frame into the document."""
    if event.mode is not FrameMode.SUMMARY:
        return ()
    return (
        Merge(
            TABLE,
            {
                "execution_id": place.execution_id,
                "attempt_index": event.attempt_index,
            },
            "document_json",
            parse_patch(event.payload),
            null_sentinel=NULL_SENTINEL,
            values={
                "version": event.summary_version,
                "patch_kind": PATCH_KIND,
                "last_updated_ms": event.occurred_at_ms,
            },
            initial={"first_applied_ms": event.occurred_at_ms},
        ),
    )
