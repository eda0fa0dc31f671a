"""A ledger that is open while a later version changes the tables below it."""

from contextlib import closing

import pytest
from outsiders import outsider_of

import leasehold
from leasehold.adapters.postgres.connecting import _PREPARED_AT_USE

LOADED = "leasehold_loaded"
FUNCTIONS = """
SELECT pg_get_functiondef(oid) AS text FROM pg_proc
WHERE prorettype = 'leasehold_loaded'::regtype AND pronamespace = (
    SELECT relnamespace FROM pg_class WHERE oid = 'leasehold_loaded'::regclass
)
"""
LATER = (
    "UPDATE leasehold_meta SET value = (value::integer + 1)::text"
    " WHERE key = 'projection_version'"
)


def take_over(outsider) -> None:
    """Give what decisions load one more column, as a later version might."""
    query = f"SELECT pg_get_viewdef('{LOADED}'::regclass) AS text"
    ((view,),) = [row.values() for row in outsider.execute(query)]
    functions = [row["text"] for row in outsider.execute(FUNCTIONS)]
    assert functions
    outsider.execute("BEGIN")
    outsider.execute(f"DROP VIEW {LOADED} CASCADE")
    inner = view.rstrip().removesuffix(";")
    outsider.execute(
        f"CREATE VIEW {LOADED} AS SELECT it.*, 'red' AS colour FROM ({inner}) AS it"
    )
    for function in functions:
        outsider.execute(function)
    outsider.execute(LATER)
    outsider.execute("COMMIT")


CALLS = {
    "load": lambda ledger, one, _: ledger.change_priority(one, 1, actor="ann"),
    "load free": lambda ledger, _, __: ledger.claim(worker_id="w"),
    "guard": lambda ledger, _, handle: ledger.progress(handle, 5),
    "sweep": lambda ledger, _, __: ledger.sweep(),
    "create": lambda ledger, _, __: ledger.create_execution(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_statement_prepared_for_the_old_tables_is_told_as_a_later_version(
    call, own_url, clock
) -> None:
    with (
        leasehold.open(own_url, clock=clock) as ledger,
        closing(outsider_of(own_url)) as outsider,
    ):
        one = ledger.create_execution(lane_id="other")
        held = ledger.claim("other", worker_id="w")
        for _ in range(_PREPARED_AT_USE + 2):
            ledger.create_execution()
            for prepared in CALLS.values():
                prepared(ledger, one, held)
        take_over(outsider)
        for _ in range(2):
            with pytest.raises(leasehold.StoreError) as refused:
                CALLS[call](ledger, one, held)
            assert refused.value.code == "schema_version", refused.value
        assert ledger.read.execution(one) is not None
