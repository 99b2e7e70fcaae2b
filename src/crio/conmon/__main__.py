"""Starts the zygote: `python -I -S .../crio/conmon/__main__.py <socket> <requests>`.

Isolated from the environment and from site-packages, so the path to this package is all it adds.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.removesuffix("/crio/conmon/__main__.py"))
    # First what a monitor uses only when something happens, last what all of them use; see packing.py.
    import crio.conmon.execmonitor
    import crio.conmon.serving
    import crio.conmon.starter  # noqa: F401
    from crio.conmon.packing import take_free_slots

    fillers = take_free_slots()
    from crio.conmon.zygote import main

    main(int(sys.argv[1]), int(sys.argv[2]))
