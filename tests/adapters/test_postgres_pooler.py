"""A ledger behind PgBouncer."""

import threading
from contextlib import closing

import psycopg
import pytest
from every_call import READS, every_operation, worked
from outsiders import outsider_of, with_schema
from pgbouncer import program, start_pgbouncer
from proxy import COMMIT, cut, lose_the_answer, proxy_to, swallow

import leasehold
from leasehold.adapters.postgres import resolving

pytestmark = pytest.mark.skipif(
    program() is None, reason="there is no program pgbouncer on PATH"
)
OPTIONS = ("", "&transaction_pooling=on")


@pytest.fixture(scope="module")
def pooled_url(own_server):
    """Run PgBouncer in its transaction mode."""
    with start_pgbouncer(own_server) as url:
        yield url


@pytest.fixture
def ledger_url(pooled_url, schema):
    """Name a ledger behind it."""
    return with_schema(pooled_url, schema)


@pytest.mark.parametrize("option", OPTIONS)
def test_everything_works_behind_a_pooler(option, ledger_url, own_url, clock) -> None:
    with (
        leasehold.open(ledger_url + option, clock=clock) as ledger,
        leasehold.open(own_url, clock=clock, read_only=True) as direct,
    ):
        assert [name for name, _ in every_operation(ledger, clock)]
        one = ledger.read.executions()[0].execution_id
        for name, read in READS.items():
            if name != "facts":
                assert read(ledger, one) == read(direct, one), name


@pytest.mark.parametrize("option", OPTIONS)
def test_many_threads_share_the_few_connections_of_a_pooler(option, ledger_url) -> None:
    with leasehold.open(ledger_url + option, durability="normal") as ledger:
        errors = []

        def work(number):
            lane = f"lane-{number}"
            try:
                for _ in range(10):
                    ledger.create_execution(lane_id=lane)
                    handle = ledger.claim(lane, worker_id="w")
                    ledger.renew(handle)
                    ledger.append_frame(handle, leasehold.Frame(b"x"))
                    ledger.read.executions(lane)
                    ledger.complete(handle)
            except leasehold.StoreError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=[n]) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert ledger.read.counts()["completed"] == 120
        assert ledger.verify().ok


@pytest.mark.parametrize("option", OPTIONS)
def test_nothing_is_left_on_the_connections_of_a_pooler(
    option, ledger_url, pooled_url, own_url
) -> None:
    asked = "SELECT current_setting('search_path'), current_setting('lock_timeout')"
    held = "SELECT * FROM pg_locks WHERE locktype = 'advisory'"
    prepared = "SELECT * FROM pg_prepared_statements"
    with leasehold.open(ledger_url + option, durability="normal") as ledger:
        for _ in range(5):
            worked(ledger)
            ledger.read.counts()
        with closing(ledger.subscribe()) as subscription:
            assert subscription.next_events(0.1) == []
        with psycopg.connect(pooled_url, autocommit=True) as another:
            assert another.execute(asked).fetchall() == [('"$user", public', "0")]
            assert another.execute(prepared).fetchall() == []
        with closing(outsider_of(own_url)) as outsider:
            assert outsider.execute(held) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_ledgers_behind_one_pooler_stay_apart(option, ledger_url, schema) -> None:
    another_url = ledger_url.replace(schema, f"{schema}_too")
    with (
        leasehold.open(ledger_url + option) as one,
        leasehold.open(another_url + option) as another,
    ):
        for _ in range(5):
            one.create_execution()
            another.create_executions([{}, {}])
        assert one.read.counts()["pending"] == 5
        assert another.read.counts()["pending"] == 10


def test_a_follower_behind_a_pooler_looks_by_itself(ledger_url) -> None:
    with (
        leasehold.open(ledger_url) as ledger,
        closing(ledger.subscribe()) as subscription,
    ):
        assert subscription.next_events(0.1) == []
        one = ledger.create_execution()
        (event,) = subscription.next_events(10)
        assert event.event.execution_id == one


def test_a_follower_beside_a_pooler_is_woken_by_writers_behind_it(
    ledger_url, own_url, caplog
) -> None:
    with (
        leasehold.open(ledger_url) as ledger,
        leasehold.open(own_url) as direct,
        closing(direct.subscribe()) as subscription,
    ):
        assert subscription.next_events(0.3) == []
        for _ in range(3):
            one = ledger.create_execution()
            (event,) = subscription.next_events(10)
            assert event.event.execution_id == one
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("act", "takes_effect"), [(lose_the_answer, True), (cut, False), (swallow, False)]
)
def test_a_lost_answer_is_found_again_behind_a_pooler(
    act, takes_effect, ledger_url, clock, monkeypatch
) -> None:
    monkeypatch.setattr(resolving, "PATIENCE_S", 1.0)
    with (
        proxy_to(ledger_url) as proxy,
        leasehold.open(proxy.url(), clock=clock) as ledger,
    ):
        handle = worked(ledger)
        proxy.at(COMMIT, act)
        if takes_effect:
            ledger.complete(handle)
        else:
            with pytest.raises(leasehold.StoreError, match="nothing was written"):
                ledger.complete(handle)
        assert proxy.has_acted
        assert ledger.read.counts()["completed"] == takes_effect
        ledger.complete(handle)
        assert ledger.verify().ok


def test_a_pooler_that_is_taken_for_none_is_told_of(own_server, schema) -> None:
    def work(url):
        with leasehold.open(url) as ledger, leasehold.open(url) as another:
            for _ in range(5):
                worked(ledger)
                worked(another)

    # Not the pooler of the other tests: its connections are spoilt now.
    with start_pgbouncer(own_server) as pooled_url:
        url = f"{with_schema(pooled_url, schema)}&transaction_pooling=off"
        with pytest.raises(leasehold.StoreError, match="transaction_pooling=on"):
            work(url)


@pytest.mark.parametrize("option", ["", "&transaction_pooling=off"])
def test_a_pooler_in_its_session_mode_needs_nothing(
    option, own_server, schema, clock
) -> None:
    with (
        start_pgbouncer(own_server, pool_mode="session") as url,
        leasehold.open(with_schema(url, schema) + option, clock=clock) as ledger,
    ):
        assert [name for name, _ in every_operation(ledger, clock)]
        assert ledger._store._transactions.is_pooled is (not option)


def test_a_pooler_that_has_no_connection_left_is_told(own_server, schema) -> None:
    few = {"default_pool_size": 1, "query_wait_timeout": 1}
    with start_pgbouncer(own_server, **few) as url:
        ledger_url = with_schema(url, schema)
        with (
            leasehold.open(ledger_url) as ledger,
            psycopg.connect(url) as another,
        ):
            another.execute("SELECT 1")
            with pytest.raises(leasehold.StoreError, match="timeout") as told:
                ledger.create_execution()
            assert (told.value.code, told.value.retryable) == (
                "store_unavailable",
                True,
            )
            another.rollback()
            ledger.create_execution()


def test_a_pooler_that_knows_no_transactions_is_told(own_server, schema) -> None:
    with (
        start_pgbouncer(own_server, pool_mode="statement") as url,
        pytest.raises(leasehold.StoreError, match="mode `statement`") as told,
    ):
        leasehold.open(with_schema(url, schema))
    assert not told.value.retryable
