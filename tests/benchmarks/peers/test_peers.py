"""The comparison with the peers, without the peers: they are not installed here."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PINNED = re.compile(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*")


@pytest.fixture
def module_named(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module


def imported_by(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_every_peer_has_its_script_and_pinned_versions(module_named):
    peers = module_named("peers").PEERS.values()
    scripts = {path.stem.removeprefix("peer_") for path in HERE.glob("peer_*.py")}
    assert scripts == {peer.script for peer in peers} | {"leasehold"}
    requirements = {path.stem for path in HERE.glob("requirements/*.txt")}
    assert requirements == {peer.script for peer in peers}
    for peer in peers:
        lines = peer.requirements.read_text(encoding="utf-8").splitlines()
        assert all(PINNED.fullmatch(line) for line in lines)
        assert peer.package.partition(" ")[0].replace("-", "_") == peer.script


def test_a_script_needs_nothing_of_the_project_but_the_frame():
    own = {path.stem for path in HERE.glob("*.py")} - {"frame"}
    for script in HERE.glob("peer_*.py"):
        known = imported_by(script)
        assert "frame" in known
        assert not known & own
        assert ("leasehold" in known) == (script.stem == "peer_leasehold")
    assert imported_by(HERE / "frame.py") <= sys.stdlib_module_names


def test_leasehold_lives_its_lives_in_the_frame(module_named, tmp_path, monkeypatch):
    run = module_named("run")
    terms = {"durability": "normal", "shape": "calls", "lease_s": 2.0}
    side = run.Side(Path(sys.executable), "leasehold", terms, tmp_path, None)
    monkeypatch.setattr(run, "WEIGHED_LIVES", 5)
    with side.start() as script:
        turn = side.turn(script, 5, 1)
        assert turn["concurrency"] == 1
        assert turn["lives_per_s"] > 0
        assert turn["durability"] == "journal_mode wal, synchronous NORMAL"
        assert 0 < turn["claim_ms"][0] <= turn["claim_ms"][1]
        on_record = side.on_record(script)
        # Submitted, claimed and completed are three events, with their rows.
        assert on_record["rows"] > 3
        assert on_record["bytes"] > 0
        terms["durability"] = "some"
        with pytest.raises(run.PeerError, match="InvalidInputError: durability must"):
            side.turn(script, 5, 1)
    assert not list(tmp_path.iterdir())


def test_leasehold_takes_over_in_the_frame_from_a_worker_that_was_killed(
    module_named, tmp_path
):
    run = module_named("run")
    terms = {"durability": "normal", "shape": "worker", "lease_s": 0.1}
    side = run.Side(Path(sys.executable), "leasehold", terms, tmp_path, None)
    assert side.taken_after_s() > 0


def test_the_tables_show_who_was_measured_and_who_could_not_be(module_named):
    def turn(rate):
        claim_ms = [0.5, 2.0]
        facts = {"durability": "synchronous FULL", "claim_ms": claim_ms}
        return {"concurrency": 4, "lives_per_s": rate, **facts}

    side = {"on_record": {"rows": 1.0, "bytes": 1234}, "taken_after_s": None}
    rows = {
        "one": {
            "package": "one 1.0",
            "differs": "no lease",
            "peer": {**side, "turns": [turn(100), turn(300), turn(200)]},
            "leasehold": {
                **side,
                "turns": [turn(400), turn(450), turn(600)],
                "taken_after_s": 2.04,
            },
        },
        "two": {"package": "two 2.0", "error": "SomeError: too old"},
    }
    shown = module_named("tables").tables(rows).splitlines()
    assert shown[2].startswith("| one 1.0: synchronous FULL | 4 | 200 (100–300) |")
    assert "| 450 (400–600) | 3.00 | 0.50 / 2.00 | 0.50 / 2.00 |" in shown[2]
    assert shown[-3] == (
        "| one | 1.0 | 1,234 | 1.0, 1,234 | no | after 2.0 s | no lease |"
    )
    assert shown[-1] == "* two 2.0: SomeError: too old"
