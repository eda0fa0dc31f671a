"""The server, its processes or the connection go at every message of every call.

`LEASEHOLD_FAULTS_EVERY=1` is for every message, and for every fourth where a fault
takes long; without it one or two of some calls have to do.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing

import psycopg
import pytest
from every_message import Tally, try_all, try_all_reads
from outsiders import outsider_of
from proxy import cut, proxy_to
from scripted_calls import stage, until_it_answers


@pytest.fixture
def behind(new_store, clock):
    """Set a stage behind a proxy."""
    url = new_store("postgres")
    with proxy_to(url) as proxy, stage(url, proxy, clock) as set_up:
        yield set_up


def test_the_connection_is_cut(behind, record_property) -> None:
    tally = Tally("the connection is cut")
    try_all(behind, cut, tally)
    record_property("faults", str(tally))


def test_the_connection_is_cut_while_it_is_made(behind, record_property) -> None:
    tally = Tally("the connection is cut, also while it is made")
    try_all(behind, cut, tally, beginning=1, step=4, every=4, anew=True)
    record_property("faults", str(tally))


def test_the_connection_is_cut_while_it_is_read(behind, record_property) -> None:
    tally = Tally("the connection is cut in reads")
    try_all_reads(behind, cut, tally)
    record_property("faults", str(tally))


def test_the_session_is_ended_by_an_administrator(behind, record_property) -> None:
    tally = Tally("pg_terminate_backend")
    with closing(outsider_of(behind.url)) as outsider:

        def terminate(wire):
            outsider.execute(f"SELECT pg_terminate_backend({wire.pid}, 5000)")
            return True

        try_all(behind, terminate, tally, step=3)
    record_property("faults", str(tally))


def kill_a_session(server, wire) -> None:
    """Kill its process; the server ends all others, too, and begins anew."""
    with closing(psycopg.connect(server.url)) as another:
        os.kill(wire.pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            another.execute("SELECT pg_sleep(60)")
    until_it_answers(lambda: psycopg.connect(server.url)).close()


def stop_fast(server, wire) -> None:
    server.stop(signal.SIGINT)
    server.start()


def stop_immediately(server, wire) -> None:
    server.stop(signal.SIGQUIT)
    server.start()


def crash(server, wire) -> None:
    server.crash()
    server.start()


ENDS = {
    "SIGKILL for the process of a session": kill_a_session,
    "the server is stopped in mode fast": stop_fast,
    "the server is stopped in mode immediate": stop_immediately,
    "SIGKILL for all processes of the server": crash,
}


@pytest.mark.parametrize("end", ENDS)
def test_the_server_goes_and_comes_back(
    end, own_server, own_url, clock, record_property
) -> None:
    def act(wire):
        ENDS[end](own_server, wire)
        return True

    tally = Tally(end)
    beginning = tuple(ENDS).index(end)
    with proxy_to(own_url) as proxy, stage(own_url, proxy, clock) as set_up:
        try_all(set_up, act, tally, beginning=beginning, step=len(ENDS), every=4)
    record_property("faults", str(tally))
