"""A disk that is full, as SQLite tells it."""

import pytest

import leasehold

MIB = 1024 * 1024


@pytest.fixture
def store_url(sqlite_url) -> str:
    """Let `ledger` be in SQLite."""
    return sqlite_url


def limit_pages(ledger, most) -> None:
    """Give the connection that writes a disk of so many pages."""
    with ledger._store.write() as session:
        session.cursor.execute(f"PRAGMA max_page_count = {most}")


def test_a_full_disk_is_told_and_leaves_nothing_half_done(
    ledger, start, snapshot
) -> None:
    handle = start()
    limit_pages(ledger, 1)  # SQLite takes no less than what is there.
    try:
        with pytest.raises(leasehold.StoreError, match=r"(?i)full") as refused:
            ledger.create_executions([{"payload": bytes(MIB)}] * 20)
        assert refused.value.code == "store_unavailable"
        before = snapshot()
        with pytest.raises(leasehold.StoreError, match=r"(?i)full"):
            ledger.create_executions([{}, {"payload": bytes(MIB)}])
        with pytest.raises(leasehold.StoreError, match=r"(?i)full"):
            ledger.complete(handle, bytes(MIB))
        assert snapshot() == before
    finally:
        limit_pages(ledger, 1_000_000)
    ledger.complete(handle, bytes(MIB))
    assert len(ledger.read.execution(handle.execution_id).result) == MIB
