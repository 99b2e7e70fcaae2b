"""`python -m crio.image.worker FD OPTIONS`, started by the daemon only."""

import sys

from crio.image.worker.program import main

sys.exit(main(sys.argv))
