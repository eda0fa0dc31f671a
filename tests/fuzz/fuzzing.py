"""Fuzz what comes from outside with atheris, guided by the coverage of the code.

    python tests/fuzz/fuzzing.py [target…] [-max_total_time=60] [-…]

The targets are those of `targets.py`; without any, each is fuzzed in turn. What begins
with a dash is an option of libFuzzer; without one, each takes 60 seconds. Ends with 1,
and keeps the input beside, where a promise of a target was broken.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

BYTES_MAX = 2 << 30
INPUT_BYTES_MAX = 65_536
SECONDS_EACH = 60
# Beyond this an input is one that takes too long.
SECONDS_AN_INPUT_MAX = 60


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["leasehold"]):
        import targets
    target = targets.TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for seed in target.seeds():
            seed_name = hashlib.sha256(seed).hexdigest()
            Path(corpus, seed_name).write_bytes(seed)
        resource.setrlimit(resource.RLIMIT_AS, (BYTES_MAX, BYTES_MAX))
        kept = f"-artifact_prefix=leasehold-fuzz-{name}-"
        bounds = [
            f"-max_len={INPUT_BYTES_MAX}",
            f"-timeout={SECONDS_AN_INPUT_MAX}",
            # The limit above raises MemoryError, which names the place.
            "-rss_limit_mb=0",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *bounds, kept, *options, corpus], target.run)
        atheris.Fuzz()


def main() -> int:
    """Run the command: a process for each target, as libFuzzer ends its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    given, options = parser.parse_known_args()
    options = options or [f"-max_total_time={SECONDS_EACH}"]
    if len(given.targets) == 1:
        fuzz(given.targets[0], options)
        return 0
    from targets import TARGETS

    failed = []
    for name in given.targets or TARGETS:
        print(f"== {name}", flush=True)
        command = [sys.executable, __file__, name, *options]
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    if failed:
        print(f"broken: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
