"""Makes the samples of the domain's tests and this folder's table importable."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (str(HERE), str(HERE.parent / "domain")):
    if folder not in sys.path:
        sys.path.insert(0, folder)
