"""Opening, and what opening refuses."""

import pytest

import leasehold


@pytest.fixture
def contents(outsider):
    """Read every table of a store, past the ledger."""

    def read():
        tables = sorted(row["name"] for row in outsider.execute(outsider.TABLES))
        return {
            name: sorted(outsider.execute(f"SELECT * FROM {name}"), key=repr)
            for name in tables
        }

    return read


def test_a_store_is_created_when_missing_and_kept(shared_url, contents) -> None:
    assert contents() == {}
    with leasehold.open(shared_url) as ledger:
        execution_id = ledger.create_execution(payload=b"kept")
    assert contents()
    with leasehold.open(shared_url) as ledger:
        assert ledger.read.execution(execution_id).payload == b"kept"


@pytest.mark.parametrize(
    "url",
    ["", "ledger.db", "mysql://host/db", "sqlite:/x", "sqlite:///", "sqlite", None, 5],
)
def test_a_url_that_is_none_is_refused_by_name(url, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(leasehold.InvalidInputError, match="url") as refused:
        leasehold.open(url)
    assert refused.value.code == "invalid_input"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durability", ["", "FULL", "sloppy", None, 1])
def test_an_unknown_durability_is_refused_by_name(
    durability, shared_url, contents
) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="durability"):
        leasehold.open(shared_url, durability=durability)
    assert contents() == {}


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_both_durabilities_open_one_store(durability, shared_url) -> None:
    for _ in range(2):
        with leasehold.open(shared_url, durability=durability) as ledger:
            ledger.create_execution()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("newer", ["schema_version", "projection_version"])
def test_a_store_of_a_newer_schema_is_refused(
    newer, read_only, shared_url, outsider, contents
) -> None:
    leasehold.open(shared_url).close()
    change = "UPDATE leasehold_meta SET value = '9999' WHERE key = ?"
    outsider.execute(change, newer)
    before = contents()
    assert {"key": newer, "value": "9999"} in before["leasehold_meta"]
    with pytest.raises(leasehold.StoreError, match="9999") as refused:
        leasehold.open(shared_url, read_only=read_only)
    assert refused.value.code == "schema_version"
    assert refused.value.retryable is False
    assert contents() == before


def test_read_only_never_creates(shared_url, shown, contents) -> None:
    with pytest.raises(leasehold.StoreError, match=shown) as refused:
        leasehold.open(shared_url, read_only=True)
    assert refused.value.code == "store_unavailable"
    assert contents() == {}


def test_read_only_never_writes(shared_url, clock, contents) -> None:
    with leasehold.open(shared_url, clock=clock) as ledger:
        execution_id = ledger.create_execution(delay_until_ms=clock() + 1)
        ledger.create_execution()
        handle = ledger.claim(worker_id="w")
        grant = ledger.issue_resume_grant(handle.execution_id, worker_id="w")
    before = contents()
    clock.advance(1_000_000)
    with leasehold.open(shared_url, clock=clock, read_only=True) as ledger:
        assert ledger.read.execution(execution_id).public_state == "delayed"
        assert len(ledger.read.events()) == 5
        for call in (
            ledger.create_execution,
            lambda: ledger.claim(worker_id="w"),
            lambda: ledger.renew(handle),
            lambda: ledger.complete(handle),
            lambda: ledger.claim_from_resume_grant(grant, worker_id="w"),
            lambda: ledger.cancel_execution(execution_id, actor="a", reason="r"),
            ledger.sweep,
        ):
            with pytest.raises(leasehold.LeaseholdError, match=r"(?i)read.only"):
                call()
    assert contents() == before
