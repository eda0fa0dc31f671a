"""What the state machine draws: specifications, workers, documents, twists."""

from __future__ import annotations

from hypothesis import strategies as st
from ledger_model.records import Retries

import leasehold

POLICIES = {
    "none": (Retries(0, 0), leasehold.RetryPolicy(max_retries=0)),
    "at once": (
        Retries(2, 0),
        leasehold.RetryPolicy(max_retries=2, backoff=leasehold.Fixed(0)),
    ),
    "growing": (
        Retries(3, 40, 3.0, 200),
        leasehold.RetryPolicy(
            max_retries=3,
            backoff=leasehold.Exponential(initial_ms=40, multiplier=3.0, max_ms=200),
        ),
    ),
}
TOKENS = ("eu", "gpu")
WORKERS = st.sampled_from([("ada", None), ("ada", "ada-2"), ("bob", "bob-1")])
LANES = st.sampled_from([*["default"] * 7, "other"])
TTLS = st.sampled_from([1, 50, 50, 400, 400, 400])
CAPABILITIES = st.sampled_from([(), (), (), ("gpu",), TOKENS])
SERVED = st.sampled_from([*[TOKENS] * 6, (), ("gpu",)])
PRIORITIES = st.sampled_from([-1, 0, 0, 7])
STEPS = st.sampled_from([1, 10, 49, 50, 100, 300])
OFFSETS = st.sampled_from([*[None] * 8, -10, 60, 300])
TWISTS = st.sampled_from(
    [*[None] * 18, "lease", "epoch", "attempt", "execution", "first"]
)
MODES = st.sampled_from([(1_000, 1, 16, 0.5), (60_000, 2, 3, 0.2), (200, 1, 4, 1.0)])
DOCUMENTS = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        st.sampled_from([None, 1, "x", "__ff_null__", 2.5, True]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
        ),
        max_leaves=4,
    ),
    max_size=3,
)
SPECS = st.fixed_dictionaries(
    {
        "lane_id": LANES,
        "payload": st.sampled_from([b"", b"work"]),
        "capabilities": CAPABILITIES,
        "priority": PRIORITIES,
        "idempotency_key": st.sampled_from([None, None, None, "key-1", "key-2"]),
        "delay_until_ms": OFFSETS,
        "deadline_at_ms": OFFSETS,
        "policy": st.sampled_from(sorted(POLICIES)),
        "max_reclaim_count": st.sampled_from([0, 1, 2, 100]),
        "namespace": st.sampled_from(["default", "default", "second"]),
        "tags": st.sampled_from([None, {"b": "2", "a": "1"}]),
    }
)
