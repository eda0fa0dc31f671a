"""Makes the samples of this folder importable by name; sets hypothesis' deadline."""

import sys
from pathlib import Path

from hypothesis import settings

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

# A busy machine is no fault of the code under test.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")
