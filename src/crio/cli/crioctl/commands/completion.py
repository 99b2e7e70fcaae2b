"""crioctl completion"""

from __future__ import annotations

import argparse
import sys

from crio.cli.crioctl.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Load it with\n"
        "  source <(crioctl completion bash)\n"
        "  source <(crioctl completion zsh)\n"
        "  crioctl completion fish | source"
    )
    parser.add_argument("shell", metavar="SHELL", nargs="?", choices=["bash", "zsh", "fish"], default="bash")


def run(settings: Settings, args: argparse.Namespace) -> int:
    from crio.cli.crioctl import completion  # lazy: it loads every other command

    sys.stdout.write(completion.script(args.shell))
    return 0
