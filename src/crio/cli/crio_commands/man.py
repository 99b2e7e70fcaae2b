"""`crio man [PAGE]`: a manual page for man(1)."""

from __future__ import annotations

import sys

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.document import as_roff, page
from crio.cli.crio_commands.manual import page_name


def run(call: Call) -> int:
    sys.stdout.write(as_roff(page(page_name(call))))
    return 0
