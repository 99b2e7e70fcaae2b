"""crioctl config"""

from __future__ import annotations

import argparse

from crio.base.errors import InvalidArgument
from crio.cli.crioctl import table
from crio.cli.crioctl.settings import FILE_KEYS, Settings, write_config


def configure(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--get", metavar="KEY", help="print one value")
    which.add_argument("--list", action="store_true", help="print all values")
    which.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="several may be joined by commas"
    )
    parser.add_argument("key", nargs="?", help="set this key (older form)")
    parser.add_argument("value", nargs="?", default="")


def run(settings: Settings, args: argparse.Namespace) -> int:
    values = {**FILE_KEYS, **settings.file_values}
    if args.get is not None:
        print(_shown(values[_known(args.get)]))
        return 0
    changes = [pair for option in args.set for pair in option.split(",")]
    if args.key is not None:
        changes = [f"{args.key}={args.value}"]
    if changes:
        for change in changes:
            key, separator, value = change.partition("=")
            if not separator:
                raise InvalidArgument(f"cannot set {change!r}: it is not of the form KEY=VALUE")
            values[_known(key)] = _value(key, value)
        write_config(settings.config_path, values)
        return 0
    table.show([("KEY", "VALUE"), *((key, _shown(values[key])) for key in FILE_KEYS)])
    return 0


def _known(key: str) -> str:
    if key not in FILE_KEYS:
        raise InvalidArgument(f"there is no option {key!r}; known are {', '.join(FILE_KEYS)}")
    return key


def _value(key: str, text: str) -> object:
    example = FILE_KEYS[key]
    if isinstance(example, bool):
        if text.lower() in ("true", "1", "t"):
            return True
        if text.lower() in ("false", "0", "f"):
            return False
        raise InvalidArgument(f"cannot set {key} to {text!r}: it is true or false")
    if isinstance(example, int):
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(f"cannot set {key} to {text!r}: it is a number") from None
    return text


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
