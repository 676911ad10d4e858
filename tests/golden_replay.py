"""``python tests/golden_replay.py FOLDER`` packs a folder of recorded cases into the package's ``golden.json.gz``."""

import sys
from pathlib import Path

from diffnum.certificates.recorded import load, pack, replay

__all__ = ["load", "pack", "replay"]

if __name__ == "__main__":
    pack(Path(sys.argv[1]))
