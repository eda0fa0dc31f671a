"""PostgreSQL urls: what they mean, and how a wrong one is told without its password."""

import subprocess
import sys

import pytest
from psycopg.conninfo import conninfo_to_dict

import leasehold
from leasehold.adapters.postgres.target import parse_url

SECRET = "gehe1m"
OURS = ("schema", "pool_size", "transaction_pooling")


def parsed(url, **options):
    return parse_url(url, options.pop("durability", "full"), read_only=False, **options)


def given_to_libpq(url):
    return conninfo_to_dict(parsed(url).conninfo)


MEANINGS = {
    "postgresql://": {},
    "postgres://ann@db/ledger": {"user": "ann", "host": "db", "dbname": "ledger"},
    "postgresql://db:6543": {"host": "db", "port": "6543"},
    "postgresql://:6543/": {"port": "6543"},
    "postgresql:///ledger": {"dbname": "ledger"},
    "postgresql://ann@/ledger?host=/run/pg&port=1": {
        "user": "ann",
        "dbname": "ledger",
        "host": "/run/pg",
        "port": "1",
    },
    "postgresql://%2Frun%2Fpg/ledger": {"host": "/run/pg", "dbname": "ledger"},
    "postgresql://ann:a%40b%2Fc%3Fd%23e%25f%20g%C3%BC:h@db/": {
        "user": "ann",
        "password": "a@b/c?d#e%f gü:h",
        "host": "db",
    },
    "postgresql://a%20nn@db/my%20db": {
        "user": "a nn",
        "host": "db",
        "dbname": "my db",
    },
    "postgresql://ann:@db": {"user": "ann", "password": "", "host": "db"},
    "postgresql://[::1]:6543/x": {"host": "::1", "port": "6543", "dbname": "x"},
    "postgresql://[fe80::1%25eth0]/x": {"host": "fe80::1%eth0", "dbname": "x"},
    "postgresql://one:1,two,[::1]:3/x": {
        "host": "one,two,::1",
        "port": "1,,3",
        "dbname": "x",
        "target_session_attrs": "read-write",
    },
    "postgresql://one,two/?target_session_attrs=any": {
        "host": "one,two",
        "target_session_attrs": "any",
    },
    "postgresql:///?options=-c%20geqo%3Doff+x": {"options": "-c geqo=off+x"},
    "postgresql:///?application_name=night%20shift": {
        "application_name": "night shift"
    },
    "postgresql:///?ssl=true": {"sslmode": "require"},
    "postgresql:///?sslmode=verify-full&sslrootcert=/etc/ca": {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca",
    },
    "postgresql:///?gssencmode=require": {"gssencmode": "require"},
    "postgresql:///?client_encoding=utf8": {},
    "postgresql:///?connect_timeout=60": {"connect_timeout": "60"},
    "postgresql:///schmörgås": {"dbname": "schmörgås"},
}
OF_EVERY_CONNECTION = {
    "application_name": "leasehold",
    "client_encoding": "UTF8",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


@pytest.mark.parametrize("url", MEANINGS)
def test_a_url_means_what_it_means_to_libpq(url) -> None:
    given = given_to_libpq(url)
    expected = {**OF_EVERY_CONNECTION, **MEANINGS[url]}
    expected.setdefault("connect_timeout", given["connect_timeout"])
    assert given == expected


@pytest.mark.parametrize(
    ("hosts", "each_s"), [("", 5), ("one", 5), ("one,two", 5), ("a,b,c", 3)]
)
def test_a_server_that_is_away_is_told_within_ten_seconds(hosts, each_s) -> None:
    given = given_to_libpq(f"postgresql://{hosts}/x")
    assert given["connect_timeout"] == str(each_s)
    assert each_s * len(hosts.split(",")) <= 10


def test_options_of_our_own_are_kept_from_libpq() -> None:
    target = parsed(
        "postgresql://db/x?schema=My%20%22own%22&pool_size=3&transaction_pooling=on"
    )
    assert target.schema == 'My "own"'
    assert target.pool_size == 3
    assert target.transaction_pooling is True
    assert parsed("postgresql:///?transaction_pooling=off").transaction_pooling is False
    assert not set(OURS) & set(conninfo_to_dict(target.conninfo))


def test_without_options_of_our_own_there_are_sixteen_connections() -> None:
    target = parsed("postgresql://db/x")
    assert (target.schema, target.pool_size, target.transaction_pooling) == (
        None,
        16,
        None,
    )


def test_a_read_only_ledger_may_be_on_a_standby() -> None:
    target = parse_url("postgresql://one,two/x", "full", read_only=True)
    assert "target_session_attrs" not in conninfo_to_dict(target.conninfo)


WRONG = {
    "postgresql://ann:gehe1m@db/x?schema=": "schema in the url must have 1 to 63 bytes",
    f"postgresql:///?schema={'ü' * 32}": "schema in the url must have 1 to 63 bytes",
    "postgresql:///?schema=pg_mine": "pg_",
    "postgresql:///?schema=information_schema": "information_schema",
    "postgresql:///?schema=%24user": "user",
    "postgresql:///?schema=a%00b": "option 'schema' .*NUL",
    "postgresql:///?pool_size=0": "pool_size in the url must be a number from 1 to",
    "postgresql:///?pool_size=1001": "pool_size .* to 1000; got '1001'",
    "postgresql:///?pool_size=-1": "pool_size",
    "postgresql:///?pool_size=%D9%A3": "pool_size",
    "postgresql:///?pool_size=": "pool_size",
    f"postgresql:///?pool_size={'9' * 5000}": "pool_size",
    "postgresql:///?transaction_pooling=yes": "transaction_pooling .*on or off",
    "postgresql:///?pool_size=1&pool_size=2": "'pool_size' twice",
    "postgresql:///?sslmode=require&ssl=true": "'sslmode' twice",
    "postgresql://db/?host=other": "'host' twice",
    "postgresql://ann@db/?user=bob": "'user' twice",
    "postgresql:///?prepared_statements=off": "'prepared_statements' .*known neither",
    "postgresql:///?Schema=x": "option 'Schema' .*known neither",
    "postgresql:///?replication=database": "'replication'",
    "postgresql:///?client_encoding=latin1": "client_encoding",
    "postgresql:///?sslmode=perhaps": 'sslmode value: "perhaps"',
    "postgresql:///?gssencmode=perhaps": "gssencmode",
    "postgresql:///?target_session_attrs=best": "target_session_attrs",
    "postgresql:///?service=nobody-has-it": "nobody-has-it",
    "postgresql:///?connect_timeout=soon": "connect_timeout .*number",
    "postgresql:///?tcp_user_timeout=1e3": "tcp_user_timeout .*number",
    "postgresql:///?keepalives=2": "keepalives .*from 0 to 1",
    "postgresql://db:0/x": "port .*from 1 to 65535; got '0'",
    "postgresql://db:65536/x": "port .*from 1 to 65535",
    "postgresql:///?port=1,x": "port .*got 'x'",
    "postgresql://a,b/?hostaddr=127.0.0.1": "as many hosts as addresses",
    "postgresql://a,b,c/?port=1,2": "as many hosts as addresses or ports",
    "postgresql:///?schema": "name=value",
    "postgresql:///?=x": "name=value",
    "postgresql:///?a=b=c": "name=value",
    "postgresql:///?a=b&": "name=value",
    "postgresql://::1/x": "brackets",
    "postgresql://[::1/x": "brackets",
    "postgresql://[::1]x/x": "brackets",
    "postgresql://db:port/x": "port is a number",
    "postgresql://db/x y": "space",
    " postgresql://db/x": "url must be one of",
    "postgresql://db/x ": "space",
    "postgresql://db/x\n": "space",
    "postgresql://db/x\0": "cannot be printed",
    "postgresql://db/\udcff": "cannot be printed",
    "postgresql://db/x#y": "#",
    "postgresql://db/%ff": "name of the database .*not UTF-8",
    "postgresql://%ff/x": "the host .*not UTF-8",
    "postgresql:///?%ff=1": "name of an option .*not UTF-8",
    "postgresql:///?options=%ED%B3%BF": "option 'options' .*not UTF-8",
    "postgresql://ann:gehe1m%@db": "the password .*hexadecimal",
    "postgresql://ann:gehe1m%2@db": "the password .*hexadecimal",
    "postgresql://ann:gehe1m%zz@db": "the password .*hexadecimal",
    "postgresql://ann:gehe1m%FF@db": "the password .*not UTF-8",
    "postgresql://ann:gehe1m%00@db": "the password .*NUL",
    "postgresql://ann:gehe1m/x@db": "percent-encode",
    "postgresql://ann:gehe1m@x@db": "percent-encode",
    "postgresql://ann:12/gehe1m@db/x": "percent-encode",
    "postgresql://ann:x@gehe1m@db": "percent-encode",
    "postgresql://ann:gehe1m?x@db": "percent-encode",
    "postgresql://ann:1?gehe1m=x@db": "an option of the url is known neither",
    "postgresql://?ann:gehe1m@db/?sslmode=require": "percent-encode",
    "postgresql://?ann:gehe1m@db/x=1": "percent-encode",
    "postgresql://?ann:gehe1m@db/x=1&ann:gehe1m@db/x=1": "percent-encode",
    "postgresql://ann:gehe1m#x@db": "percent-encode",
    "postgresql://ann:gehe1m x@db": "percent-encode",
    "postgresql://ann:gehe1m@db:[x": "percent-encode",
    "postgresql://ann:gehe1m@db?password=gehe1m": "'password' twice",
    "postgresql://ann@db?password=gehe1m&password=gehe1m": "'password' twice",
    "postgresql://ann@db?password=gehe1m=x": "name=value",
    "postgresql://ann@db?password=gehe1m&sslmode=bad": "sslmode",
    "postgresql:ann:gehe1m@db": "url must be one of",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_and_says_why(url) -> None:
    with pytest.raises(leasehold.InvalidInputError, match=WRONG[url]) as refused:
        leasehold.open(url)
    told = refused.value
    while told is not None:
        if not url.startswith("postgresql:ann"):
            assert SECRET not in str(told)
        told = told.__cause__ or told.__context__


SHOWN = {
    "postgresql://": "postgresql:///",
    f"postgres://ann:{SECRET}@db:1/x": "postgresql://ann@db:1/x",
    f"postgresql://ann@[::1]:1,b/x?password={SECRET}&schema=s": (
        "postgresql://ann@[::1]:1,b/x?schema=s"
    ),
    f"postgresql://a%40b:{SECRET}@/x?host=/run&port=5&sslpassword={SECRET}": (
        "postgresql://a%40b@/x?host=/run&port=5"
    ),
    f"postgresql:///?hostaddr=::1&host=db&sslpassword={SECRET}": (
        "postgresql:///?host=db&hostaddr=%3A%3A1"
    ),
    "postgresql:///?host=a,b&port=7": "postgresql://a:7,b:7/",
    "postgresql:///x%0Ay?schema=%0A": "postgresql:///x%0Ay?schema=%0A",
}


@pytest.mark.parametrize("url", SHOWN)
def test_people_are_shown_a_url_without_its_secrets(url) -> None:
    target = parsed(url)
    assert target.shown == SHOWN[url]
    assert parsed(target.shown).shown == target.shown
    assert SECRET not in repr(target)


def test_the_mode_of_eventsourcing_that_loses_events_is_refused(monkeypatch) -> None:
    for value in ("1", "y", "True", "on"):
        monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", value)
        with pytest.raises(leasehold.InvalidInputError, match="ENABLE_DB_FUNCTIONS"):
            leasehold.open("postgresql:///x")
    monkeypatch.setenv("POSTGRES_ENABLE_DB_FUNCTIONS", "no")
    parsed("postgresql:///x")


@pytest.mark.parametrize("durability", ["", "FULL", None, True])
def test_a_durability_that_is_none_is_refused(durability) -> None:
    with pytest.raises(leasehold.InvalidInputError, match="durability"):
        leasehold.open("postgresql:///x", durability=durability)


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import leasehold
try:
    leasehold.open("postgresql://ann:gehe1m@db/x")
except leasehold.StoreError as error:
    print(error.code, error)
leasehold.open("sqlite://").close()
"""


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
def test_without_the_driver_the_extra_is_named(missing) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, missing],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("store_unavailable")
    assert "leasehold[postgres]" in done.stdout
    assert SECRET not in done.stdout + done.stderr
