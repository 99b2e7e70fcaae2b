"""`python -m crio.cli.crioctl` is the same as `crioctl`."""

from __future__ import annotations

import sys

from crio.cli.crioctl import main

if __name__ == "__main__":
    sys.exit(main())
