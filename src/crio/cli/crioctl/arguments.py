"""argparse with the project's manners, and the options that several verbs share."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from crio.cli.crioctl.units import parse_duration


class Parser(argparse.ArgumentParser):
    """Long options are never abbreviated, and a wrong use ends with exit code 1, as crictl's does."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        print(f"crioctl: {message} (see `{self.prog} --help`)", file=sys.stderr)
        raise SystemExit(1)


def seconds(text: str) -> float:
    """An argparse type: a number of seconds, or a duration as Go writes it (2s, 1m30s)."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def key_value(text: str) -> tuple[str, str]:
    """An argparse type: KEY=VALUE."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def labels(text: str) -> list[tuple[str, str]]:
    """An argparse type: KEY=VALUE, or several with commas between them, which no label's value has."""
    return [key_value(pair) for pair in text.split(",")]


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """-o and --template."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="FORMAT",
        default=default,
        help=f"json, yaml, table, go-template, or a field path such as '{{.status.id}}' (default: {default})",
    )
    parser.add_argument("--template", metavar="TEXT", default="", help="the template for -o go-template")


def add_label_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", metavar="KEY=VALUE", action="extend", type=labels, default=[], help="only those with this label"
    )


def add_recency_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-l", "--latest", action="store_true", help="only the most recently created one, in any state")
    parser.add_argument(
        "-n", "--last", metavar="N", type=int, default=0, help="only the N most recently created ones, in any state"
    )


def add_container_filters(parser: argparse.ArgumentParser, *, short_state: bool = True) -> None:
    """The filters of ps, inspect and exec."""
    parser.add_argument("--name", metavar="REGEXP", default="", help="only containers whose name matches")
    parser.add_argument("-p", "--pod", metavar="POD", default="", help="only containers of this pod (id or name)")
    parser.add_argument("--namespace", metavar="REGEXP", default="", help="only containers in matching pod namespaces")
    parser.add_argument("--image", metavar="IMAGE", default="", help="only containers made from this image")
    state = ("-s", "--state") if short_state else ("--state",)
    parser.add_argument(
        *state,
        metavar="STATE",
        default="",
        type=str.lower,
        choices=["", "created", "running", "exited", "unknown"],
        help="only containers in this state: created, running, exited, unknown",
    )
    add_label_filter(parser)
    add_recency_filter(parser)


def add_pod_filters(parser: argparse.ArgumentParser) -> None:
    """The filters of pods and inspectp."""
    parser.add_argument("--name", metavar="REGEXP", default="", help="only pods whose name matches")
    parser.add_argument("--namespace", metavar="REGEXP", default="", help="only pods in matching namespaces")
    parser.add_argument(
        "-s",
        "--state",
        metavar="STATE",
        default="",
        type=str.lower,
        choices=["", "ready", "notready"],
        help="only pods in this state: ready, notready",
    )
    add_label_filter(parser)
    add_recency_filter(parser)


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Options of the streaming connections."""
    parser.add_argument(
        "--transport",
        "-r",
        choices=["spdy", "websocket"],
        default="websocket",
        help="protocol of the streaming connection (default: websocket)",
    )
    parser.add_argument(
        "--tls-sni", "--tls-server-name", metavar="NAME", default="localhost", help="name in the server's certificate"
    )
    parser.add_argument("--tls-ca", metavar="FILE", default="", help="certificate authority of the streaming server")
    parser.add_argument("--tls-cert", metavar="FILE", default="", help="client certificate")
    parser.add_argument("--tls-key", metavar="FILE", default="", help="key of the client certificate")


def add_registry_login(parser: argparse.ArgumentParser) -> None:
    """Credentials of pull, create and run. The variables keep them out of the list of processes."""
    parser.add_argument(
        "--creds",
        metavar="USER[:PASSWORD]",
        default=os.environ.get("CRICTL_CREDS", ""),
        help="credentials for the registry [$CRICTL_CREDS]",
    )
    parser.add_argument(
        "--auth",
        metavar="BASE64",
        default=os.environ.get("CRICTL_AUTH", ""),
        help="base64 of USER:PASSWORD, as in a docker auth file [$CRICTL_AUTH]",
    )
    parser.add_argument("-u", "--username", metavar="USER", default="", help="user name; the password is asked for")
    parser.add_argument(
        "--pull-timeout",
        "--pt",
        metavar="TIME",
        type=seconds,
        default=os.environ.get("CRICTL_PULL_TIMEOUT") or "0",
        help="limit of the pull, e.g. 90s, 5m [$CRICTL_PULL_TIMEOUT]",
    )
