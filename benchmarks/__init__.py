"""What `./dev bench` runs: this project beside containerd, conmon, skopeo and the bare parts, in one run.

`peers` are the contestants, `figures` what is measured of them; every round asks each contestant once before the next
round begins, so that whatever else the machine does hits all of them alike. Nothing outside a scratch directory is
touched but what runtimes share by nature (cgroups, links, network namespaces), and all of that is removed. Uses the
beds of tests/ (images, registry, cgroups); called by nobody else.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The tests' directory is no package; its modules are found by path, as pytest does it.
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
