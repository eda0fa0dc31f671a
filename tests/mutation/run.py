"""Change the code in every small way, one at a time, and see that a test fails.

    python tests/mutation/run.py [module…]

Modules are named as in `modules.toml`, which also says what tests are run; without
any, all of them are taken. A mutant is killed when a test fails or does not end. Those
that survive are listed, with the reason of `survivors.toml` where there is one; ends
with 1 if there is none. `--sample` tries the few mutants of `sample.toml`, all of
which must be killed; it needs nothing but pytest.
"""

import argparse
import json
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trying

HERE = Path(__file__).parent
NICE = 15
LOOK_EVERY_SECONDS = 0.01


class Change(NamedTuple):
    """What a mutant is known by.

    Attributes:
        module: As in `modules.toml`.
        within: The class and function around it, with dots.
        was: The lines changed, without the space around each.
        now: What stands there instead.
    """

    module: str
    within: str
    was: str
    now: str

    def __str__(self) -> str:
        was = "\n".join(f"    - {line}" for line in self.was.splitlines())
        now = "\n".join(f"    + {line}" for line in self.now.splitlines())
        return f"  {self.module}: {self.within or '(outside)'}\n{was}\n{now}"


def read(name: str) -> dict[str, Any]:
    """Read a file of this folder."""
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def explained() -> dict[Change, str]:
    """Return the survivors that are known, each with its reason."""
    return {
        Change(one["module"], one["within"], one["was"], one["now"]): one["reason"]
        for one in read("survivors.toml")["survivor"]
    }


def tests_of(module: str) -> list[str]:
    """Return the tests that a module is tried on, in their order."""
    tests: list[str] = read("modules.toml")["modules"][module]
    return tests


def all_mutants(modules: list[str]) -> Iterator[tuple[Change, trying.Trial]]:
    """Make the mutants of modules."""
    # Not at the top: the sample does without it.
    from mutants import mutants_of

    for module in modules:
        name = f"leasehold.{module}"
        source = trying.path_of(name).read_text(encoding="utf-8")
        for mutant in mutants_of(source):
            change = Change(module, mutant.within, mutant.was, mutant.now)
            yield change, trying.Trial(name, mutant.source, tests_of(module))


def sample(path: Path) -> Iterator[tuple[Change, trying.Trial]]:
    """Make the mutants that a file tells of.

    Raises:
        SystemExit: What is to be changed is not there, or there twice.
    """
    for one in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        name = f"leasehold.{one['module']}"
        source = trying.path_of(name).read_text(encoding="utf-8")
        if source.count(one["was"]) != 1:
            raise SystemExit(f"{one['module']} should have once: {one['was']}")
        change = Change(one["module"], "", one["was"], one["now"])
        mutated = source.replace(one["was"], one["now"])
        yield change, trying.Trial(name, mutated, one["tests"])


def tried(
    mutants: Iterator[tuple[Change, trying.Trial]], processes_max: int
) -> Iterator[tuple[Change, trying.Verdict]]:
    """Try mutants, several at once, and tell of each as it ends."""
    running: dict[int, tuple[Change, float]] = {}
    is_over = False
    while running or not is_over:
        while len(running) < processes_max and not is_over:
            found = next(mutants, None)
            if found is None:
                is_over = True
            else:
                running[trying.start(found[1])] = (found[0], time.monotonic())
        for process, (change, started) in list(running.items()):
            verdict = trying.ended(process, started)
            if verdict is not None:
                del running[process]
                yield change, verdict
        time.sleep(LOOK_EVERY_SECONDS)


def check_unchanged(modules: list[str]) -> None:
    """See that the tests pass with the code as it is.

    Raises:
        SystemExit: They do not.
    """
    for module in modules:
        name = f"leasehold.{module}"
        source = trying.path_of(name).read_text(encoding="utf-8")
        trial = trying.Trial(name, source, tests_of(module))
        ((_, verdict),) = tried(iter([(Change(module, "", "", ""), trial)]), 1)
        if verdict != "survived":
            raise SystemExit(f"{module}: the tests fail without any change: {trial}")


def told(results: list[tuple[Change, trying.Verdict]]) -> bool:
    """Print the figures and the survivors; say whether each has its reason."""
    reasons = explained()
    counts: dict[str, Counter[str]] = {}
    for change, verdict in results:
        counted = counts.setdefault(change.module, Counter())
        counted[verdict] += 1
        counted["explained"] += verdict == "survived" and change in reasons
    print(f"{'module':28} mutants  killed stopped survived explained")
    for module, counted in counts.items():
        figures = (counted["killed"], counted["stopped"], counted["survived"])
        print(
            f"{module:28} {sum(figures):7} {figures[0]:7} {figures[1]:7}"
            f" {figures[2]:8} {counted['explained']:9}"
        )
    survivors = [change for change, verdict in results if verdict == "survived"]
    unexplained = [change for change in survivors if change not in reasons]
    for change in unexplained:
        print(f"survived:\n{change}")
    return not unexplained


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sample", type=Path, nargs="?", const=HERE / "sample.toml")
    parser.add_argument("--json", type=Path, help="where to keep every verdict")
    given = parser.parse_args()
    os.nice(NICE)
    if given.sample:
        mutants = sample(given.sample)
    else:
        modules = given.modules or list(read("modules.toml")["modules"])
        check_unchanged(modules)
        mutants = all_mutants(modules)
    results = []
    for change, verdict in tried(mutants, given.processes):
        results.append((change, verdict))
        if verdict == "survived":
            print(f"survived:\n{change}", file=sys.stderr, flush=True)
    if given.json:
        kept = [{**change._asdict(), "verdict": verdict} for change, verdict in results]
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0 if told(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
