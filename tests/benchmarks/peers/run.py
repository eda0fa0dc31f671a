"""leasehold and its peers in turn on one disk: `python run.py --folder FOLDER`.

Each peer gets an environment of its own in the folder, with the versions pinned in
`requirements`, and a process there; leasehold runs in the environment of this script.
Round by round both do the same number of lives on fresh stores. Then it is looked what
a life leaves on record, and a worker of each is killed with its work in hand.

Prints two tables, or JSON. Peers on PostgreSQL need `--postgres`, the url of a server
where databases may be created: each measurement has its own, which is dropped. A peer
that cannot do it is shown with its error; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments import PeerError, Script, environment
from peers import PEERS, Peer
from places import fresh_place, weigh
from tables import tables

from leasehold.adapters.benching.measuring import circumstances

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

CONCURRENCIES = (1, 4, 16)
WEIGHED_LIVES = 500
LEASE_S = 2.0
TAKE_S = 6.0


@dataclass(frozen=True)
class Side:
    """A peer, or leasehold beside it."""

    python: Path
    script: str
    terms: dict[str, Any]
    folder: Path
    server: str | None

    def start(self) -> Script:
        """Return a process of it."""
        return Script(self.python, self.script)

    def place(self) -> AbstractContextManager[dict[str, str]]:
        """Give it somewhere to keep a store."""
        return fresh_place(self.folder, self.server)

    def turn(self, script: Script, lives: int, concurrency: int) -> dict[str, Any]:
        """Have a process of it do some lives on a fresh store."""
        lives -= lives % concurrency
        terms = {**self.terms, "lives": lives, "concurrency": concurrency}
        with self.place() as place:
            answer = script.ask({"do": "lives", **place, **terms})
        answer["lives_per_s"] = round(lives / answer.pop("seconds"), 1)
        return {"concurrency": concurrency, **answer}

    def on_record(self, script: Script) -> dict[str, float]:
        """Return the rows and bytes that a life leaves."""
        weighed = []
        for lives in (0, WEIGHED_LIVES):
            with self.place() as place:
                script.ask({"do": "lives", **place, **self.terms, "lives": lives})
                weighed.append(weigh(place))
        (rows, size), (more_rows, more_bytes) = weighed
        return {
            "rows": round((more_rows - rows) / WEIGHED_LIVES, 2),
            "bytes": round((more_bytes - size) / WEIGHED_LIVES),
        }

    def taken_after_s(self) -> float | None:
        """Kill a process with work in hand; return when another has it, if ever."""
        with self.place() as place, self.start() as second:
            with self.start() as first:
                first.ask({"do": "hold", **place, **self.terms})
            begin = time.monotonic()
            take = {"do": "take", "wait_s": TAKE_S}
            answer = second.ask({**take, **place, **self.terms})
            if answer["taken_after_s"] is None:
                return None
            return round(time.monotonic() - begin, 2)


def measure(peer: Peer, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what was found out about a peer, and about leasehold beside it.

    Raises:
        PeerError: One of them could not do it.
    """
    server = chosen.postgres if peer.on_postgres else None
    if peer.on_postgres and not server:
        message = "left out: it needs --postgres"
        raise PeerError(message)
    terms = {
        "durability": peer.durability,
        "shape": peer.shape,
        "lease_s": LEASE_S,
    }
    python = environment(chosen.folder, peer.requirements)
    sides = {
        "peer": Side(python, peer.script, terms, chosen.folder, server),
        "leasehold": Side(
            Path(sys.executable), "leasehold", terms, chosen.folder, server
        ),
    }
    with sides["peer"].start() as script, sides["leasehold"].start() as ours:
        scripts = {"peer": script, "leasehold": ours}
        turns: dict[str, list[dict[str, Any]]] = {"peer": [], "leasehold": []}
        for number in range(chosen.rounds):
            for concurrency in CONCURRENCIES:
                # Which goes first changes from round to round.
                for name in sorted(sides, reverse=bool(number % 2)):
                    turn = sides[name].turn(scripts[name], chosen.lives, concurrency)
                    turns[name].append(turn)
        return {
            name: {
                "turns": turns[name],
                "on_record": side.on_record(scripts[name]),
                "taken_after_s": side.taken_after_s(),
            }
            for name, side in sides.items()
        }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", help=f"of {', '.join(PEERS)}; all if none")
    parser.add_argument("--folder", type=Path, required=True, help="on the disk to try")
    parser.add_argument("--postgres", help="the url of a server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lives", type=int, default=400, help="of each turn")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {}
    for name in chosen.peers or PEERS:
        peer = PEERS[name]
        print(f"{name}: {peer.package}", file=sys.stderr)
        try:
            found = measure(peer, chosen)
        except PeerError as error:
            found = {"error": str(error)}
        rows[name] = {"package": peer.package, "differs": peer.differs, **found}
    facts = circumstances()
    if chosen.json:
        print(json.dumps({"circumstances": facts, "peers": rows}, indent=1))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        print(tables(rows))
    return int(any("error" in row for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
