"""Manual pages as a sequence of parts, made from the tables of commands and keys; written as roff or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from crio.cli.crio_commands.command import Command
from crio.cli.crio_commands.help import flag_facts, flag_names, usage, visible_flags
from crio.cli.crio_commands.table import PROGRAM


class Part(NamedTuple):
    """A heading, paragraph, definition or block of text as it stands."""

    kind: str
    """title, heading, subheading, text, term or code."""
    text: str
    body: str = ""
    """For a term: its explanation."""


def page(name: str) -> Iterator[Part]:
    """The page crio(8), crio.conf(5), crio.conf.d(5) or crioctl(1)."""
    return {"crio": _crio, "crio.conf": _crio_conf, "crio.conf.d": _crio_conf_d, "crioctl": _crioctl}[name]()


def _crio() -> Iterator[Part]:
    yield Part("title", "crio(8)", PROGRAM.text)
    yield Part("heading", "Synopsis")
    yield Part("code", "crio [global flags] [command] [flags] [arguments]")
    yield Part("heading", "Description")
    yield Part("text", PROGRAM.description)
    yield Part(
        "text",
        "A flag is written with one or two dashes; its value follows after = or as the next argument. A flag without a "
        "value is turned off by =false. Flags of lists may be given more than once, or with commas.",
    )
    yield Part("heading", "Commands")
    for command in PROGRAM.shown:
        yield from _command((PROGRAM, command))
    yield Part("heading", "Global flags")
    yield from _flags(PROGRAM)
    yield Part("heading", "Environment")
    yield Part("text", "Each global flag may be given as the environment variable that stands with it. Besides:")
    for name, text in _ENVIRONMENT:
        yield Part("term", name, text)
    yield Part("heading", "Signals")
    for name, text in _SIGNALS:
        yield Part("term", name, text)
    yield Part("heading", "Files")
    for name, text in _FILES:
        yield Part("term", name, text)
    yield Part("heading", "See also")
    yield Part(
        "text", "crio.conf(5), crio.conf.d(5), crioctl(1), containers-storage.conf(5), containers-registries.conf(5)"
    )


def _command(path: Sequence[Command]) -> Iterator[Part]:
    command = path[-1]
    yield Part("subheading", " ".join(step.name for step in path[1:]))
    aliases = f" Also: {', '.join(command.aliases)}." if command.aliases else ""
    yield Part("code", usage(path))
    yield Part("text", f"{command.text}{aliases} {command.description}".strip())
    for flag in visible_flags(command)[:-1]:
        yield Part("term", flag_names(flag), flag.text + flag_facts(flag))
    for inner in command.shown:
        yield from _command((*path, inner))


def _flags(command: Command) -> Iterator[Part]:
    for flag in visible_flags(command):
        yield Part("term", flag_names(flag), flag.text + flag_facts(flag))


def _crio_conf() -> Iterator[Part]:
    from crio.config.catalog import tables
    from crio.config.convert import to_toml, type_name
    from crio.config.printer import sentences

    yield Part("title", "crio.conf(5)", "Configuration of crio")
    yield Part("heading", "Description")
    yield Part(
        "text",
        "crio.conf is a TOML file. The file /etc/crio/crio.conf is read first, if it exists; then every file below "
        "/etc/crio/crio.conf.d in lexical order; then environment variables; then flags. What comes later wins. "
        "Lists are "
        "replaced as a whole, but for storage_option, which adds up. A table of a handler or workload replaces an"
        " earlier "
        "one of the same name.",
    )
    yield Part(
        "text",
        "`crio config` prints the effective file, `crio config check` finds mistakes with their lines, `crio config "
        "explain KEY` tells where a value comes from, and `crio config diff` what a reload would change.",
    )
    yield Part(
        "text",
        "SIGHUP (systemctl reload crio) reads everything again. If anything is wrong, the old configuration stays as a "
        "whole. Keys below take effect at once for what starts from then on, unless they say that they need a restart.",
    )
    for table, entries in tables().items():
        yield Part("heading", f"[{table.replace('*', 'NAME')}]")
        for entry in entries.values():
            facts = [type_name(entry), f"default {' '.join(to_toml(entry, entry.default).split())}"]
            if entry.key.choices:
                facts.append("one of " + ", ".join(f'"{choice}"' for choice in entry.key.choices if choice))
            if entry.key.reload.value == "restart":
                facts.append("needs a restart")
            yield Part("term", entry.name, f"{sentences(entry)} ({'; '.join(facts)})")
    yield Part("heading", "See also")
    yield Part("text", "crio(8), crio.conf.d(5), containers-storage.conf(5)")


def _crio_conf_d() -> Iterator[Part]:
    yield Part("title", "crio.conf.d(5)", "Drop-in configuration of crio")
    yield Part("heading", "Description")
    yield Part(
        "text",
        "Every file below /etc/crio/crio.conf.d, in directories as well, has the form of crio.conf(5). They are "
        "read in "
        "lexical order of their paths after crio.conf; a value in a later file wins. A file that cannot be read, "
        "or that "
        "has a wrong value, keeps the daemon from starting; an unknown key is reported and ignored.",
    )
    yield Part("heading", "Example")
    yield Part(
        "code", '# /etc/crio/crio.conf.d/20-pause.conf\n[crio.image]\npause_image = "registry.example/pause:3.10"'
    )
    yield Part("heading", "See also")
    yield Part("text", "crio(8), crio.conf(5)")


def _crioctl() -> Iterator[Part]:
    """From the parsers that its --help prints."""
    from crio.cli.crioctl import catalog
    from crio.cli.crioctl.program import global_parser

    yield Part("title", "crioctl(1)", "Client for the Container Runtime Interface")
    yield Part("heading", "Description")
    yield Part(
        "text",
        "Speaks to a running crio, or to another runtime that serves the CRI, with the verbs and flags of crictl. Ids "
        "may be shortened, and names work wherever ids do.",
    )
    yield Part("code", global_parser().format_help().strip())
    for title, entries in catalog.SECTIONS:
        yield Part("heading", title)
        for entry in entries:
            yield Part("subheading", ", ".join((entry.name, *entry.aliases)))
            yield Part("code", catalog.parser_for(entry, catalog.load(entry)).format_help().strip())
    yield Part("heading", "Files")
    yield Part("term", "/etc/crictl.yaml", "Its configuration, which is crictl's.")
    yield Part("heading", "See also")
    yield Part("text", "crio(8), crio.conf(5)")


_ENVIRONMENT = (
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd: where readiness and signs of life are reported to."),
    (
        "KUBENSMNT",
        "File on which a mount namespace is bound, which the daemon joins. If it cannot, it warns and goes on without.",
    ),
    (
        "_CRIO_ROOTLESS",
        "Set on a rootless node: XDG_RUNTIME_DIR and DBUS_SESSION_BUS_ADDRESS are then kept, and otherwise dropped.",
    ),
    ("CONTAINERS_STORAGE_CONF", "File in place of /etc/containers/storage.conf."),
    ("CONTAINERS_REGISTRIES_CONF", "File in place of /etc/containers/registries.conf."),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies for pulls."),
)
_SIGNALS = (
    ("SIGTERM, SIGINT", "Stop. Containers go on, and are found again at the next start."),
    ("SIGHUP", "Read the configuration again."),
    ("SIGUSR1", "Write the stacks of all tasks and threads to a file below /tmp."),
    ("SIGUSR2", "Free what memory can be freed."),
)
_FILES = (
    ("/etc/crio/crio.conf, /etc/crio/crio.conf.d/", "Configuration."),
    ("/var/run/crio/crio.sock", "Socket of the CRI and of the inspect endpoints."),
    ("/etc/containers/storage.conf, registries.conf, policy.json", "Shared with podman, buildah and skopeo."),
    ("/etc/cni/net.d/", "Networks."),
)


def as_roff(parts: Iterator[Part]) -> str:
    """A page for man(1)."""
    import crio

    lines: list[str] = []
    for part in parts:
        if part.kind == "title":
            name, _, section = part.text.rstrip(")").partition("(")
            lines.append(f'.TH "{name.upper()}" "{section}" "" "crio {crio.__version__}" ""')
            lines += [".SH NAME", f"{_roff(name)} \\- {_roff(part.body)}"]
        elif part.kind == "heading":
            lines.append(f'.SH "{_roff(part.text.upper() if not part.text.startswith("[") else part.text)}"')
        elif part.kind == "subheading":
            lines.append(f'.SS "{_roff(part.text)}"')
        elif part.kind == "text":
            lines += [".PP", _roff(part.text)]
        elif part.kind == "code":
            lines += [".PP", ".EX", *(_roff(line) for line in part.text.splitlines()), ".EE"]
        else:
            lines += [".TP", f"\\fB{_roff(part.text)}\\fR", _roff(part.body)]
    return "\n".join(lines) + "\n"


def as_markdown(parts: Iterator[Part]) -> str:
    """The same page as Markdown."""
    lines: list[str] = []
    before = ""
    for part in parts:
        if part.kind == "title":
            lines += [f"# {part.text}", "", part.body, ""]
        elif part.kind == "heading":
            lines += [f"## {part.text}", ""]
        elif part.kind == "subheading":
            lines += [f"### {part.text}", ""]
        elif part.kind == "text":
            lines += [part.text, ""]
        elif part.kind == "code":
            lines += ["```", part.text, "```", ""]
        else:
            if before == "term":
                lines.pop()
            lines += [f"- **`{part.text}`** {part.body}", ""]
        before = part.kind
    return "\n".join(lines).rstrip("\n") + "\n"


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace('"', "\\(dq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped
