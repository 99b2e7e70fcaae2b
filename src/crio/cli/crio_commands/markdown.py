"""`crio markdown [PAGE]`: a manual page as Markdown."""

from __future__ import annotations

import sys

from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.document import as_markdown, page
from crio.cli.crio_commands.manual import page_name


def run(call: Call) -> int:
    sys.stdout.write(as_markdown(page(page_name(call))))
    return 0
