"""Starts the zygote: `python -I -S .../crio/conmon/__main__.py <socket fd>`.

Isolated from the environment and from site-packages, so the path to this package is all it adds.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.removesuffix("/crio/conmon/__main__.py"))
    from crio.conmon.zygote import main

    main(int(sys.argv[1]))
