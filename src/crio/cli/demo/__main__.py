"""`python -m crio.cli.demo`"""

from __future__ import annotations

import argparse
import asyncio
import sys

from crio.base.errors import CrioError
from crio.cli.demo.display import choose
from crio.cli.demo.scratch import Scratch


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description="Run a pod on real parts and leave nothing behind.")
    parser.add_argument("--runtime", metavar="NAME", default="", help="crun or runc (default: the first that works)")
    parser.add_argument("--directory", metavar="DIR", default="", help="where the scratch directory is made")
    parser.add_argument("--plain", action="store_true", help="one line of text for each step")
    parser.add_argument("--keep", action="store_true", help="keep the scratch directory with the daemon's log")
    args = parser.parse_args()
    from crio.cli.demo.story import Story  # lazy: --help needs none of it

    try:
        story = Story(choose(plain=args.plain), Scratch.make(args.directory), args.runtime, keep=args.keep)
        return asyncio.run(story.tell())
    except CrioError as error:
        print(f"crio demo: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
