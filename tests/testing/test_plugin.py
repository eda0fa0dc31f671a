"""The plugin of pytest as a stranger's project has it: in runs of its own."""

import os
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def run(pytester):
    """Run the tests of a module in a process of their own, warnings as errors."""

    def run_module(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-W", "error", *arguments)

    return run_module


def test_the_fixtures_are_there_without_a_word(run):
    run(
        """
        import leasehold
        from leasehold import testing

        def test_them(
            ledger, ledger_url, clock, expire, crash, assert_tenures, tmp_path
        ):
            assert isinstance(ledger, leasehold.Ledger)
            assert ledger_url == f"sqlite:///{tmp_path}/leasehold.db"
            assert (tmp_path / "leasehold.db").exists()
            assert ledger.read.store_facts()["at_ms"] == clock.now_ms()
            assert isinstance(clock, testing.ManualClock)
            assert isinstance(expire, testing.Expire)
            assert isinstance(crash, testing.Crash)
            assert isinstance(assert_tenures, testing.AssertTenures)

        def test_each_test_has_its_own(ledger):
            assert ledger.read.executions() == []
        """
    ).assert_outcomes(passed=2)


def test_the_ledger_is_closed_after_the_test(run):
    run(
        """
        import leasehold, pytest

        kept = []

        def test_first(ledger):
            kept.append(ledger)

        def test_second():
            with pytest.raises(leasehold.StoreError, match="closed"):
                kept[0].create_execution()
        """
    ).assert_outcomes(passed=2)


def test_a_project_that_uses_nothing_of_it_is_left_alone(run, monkeypatch):
    # A measurement of coverage loads modules of its own: not in here.
    for name in [name for name in os.environ if "COVERAGE" in name]:
        monkeypatch.delenv(name)
    result = run(
        """
        import sys

        def test_nothing_is_loaded():
            loaded = [name for name in sys.modules if name.startswith("leasehold")]
            assert "leasehold.testing" in loaded
            for heavy in ("leasehold.adapters.ledger", "sqlite3", "eventsourcing",
                          "pydantic", "psycopg"):
                assert heavy not in sys.modules
        """,
        "-q",
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*leasehold*")


def test_fixtures_of_the_project_win(run, pytester):
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture
        def clock():
            return "of the conftest"
        """
    )
    run(
        """
        import pytest

        @pytest.fixture
        def ledger():
            return "of the module"

        def test_them(ledger, clock):
            assert (ledger, clock) == ("of the module", "of the conftest")
        """
    ).assert_outcomes(passed=1)


def test_it_can_be_turned_off_and_named_twice(run):
    source = "def test_it(ledger): assert ledger"
    run(source, "-p", "no:leasehold.testing").assert_outcomes(errors=1)
    run(source, "-p", "leasehold.testing").assert_outcomes(passed=1)


def test_the_option_names_the_store(run, pytester):
    pytester.makeini("[pytest]\nleasehold_url = sqlite:///{tmp_path}/mine.db")
    run(
        """
        def test_it(ledger, tmp_path):
            assert [path.name for path in tmp_path.glob("*.db")] == ["mine.db"]
        """
    ).assert_outcomes(passed=1)
    pytester.makeini("[pytest]\nleasehold_url = sqlite://")
    run(
        """
        import pytest

        def test_it(ledger, request):
            assert "tmp_path" not in request.fixturenames
            assert ledger.create_execution()

        @pytest.mark.parametrize("ledger_url", ["sqlite://", "sqlite:///here.db"])
        def test_the_fixture_is_stronger(ledger, ledger_url, crash):
            ledger.create_execution()
            crash(ledger.claim(worker_id="w"))
        """
    ).assert_outcomes(passed=3)
    assert (pytester.path / "here.db").exists()


def test_a_failure_shows_both_and_where(run):
    result = run(
        """
        def test_it(ledger, crash, assert_tenures):
            job = ledger.create_execution()
            crash(ledger.claim(worker_id="worker-1"))
            assert_tenures(job, ["worker-1 claim completed"])
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*assert_tenures(job, *",
            "E*AssertionError: execution * has other tenures*",
            "E * - worker-1 claim completed",
            "E * + worker-1 claim expired",
            "E *recorded*",
            "E *attempt 0, epoch 1: worker-1 by claim at 0 ms, *expired at 30000 ms",
            "*test_a_failure_shows_both_and_where.py:4: AssertionError",
        ]
    )
    # Of our own code no line is shown.
    result.stdout.no_fnmatch_line("*__tracebackhide__*")


def test_the_options_help_says_what_it_is(pytester):
    result = pytester.runpytest_subprocess("--help")
    result.stdout.fnmatch_lines(["*leasehold_url (string):*"])


def test_importing_leasehold_does_not_import_pytest():
    code = "import leasehold, sys; leasehold.Ledger; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
