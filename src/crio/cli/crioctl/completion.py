"""Completion code for bash, zsh and fish, generated from the parsers.

Verbs, options and their choices are written into the script. Ids and names of pods, containers and images are asked of
the runtime when they are wanted, through the options -q and -o of the listing verbs.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from crio.cli.crioctl import catalog
from crio.cli.crioctl.program import global_parser

DYNAMIC = {
    "containers": "crioctl ps -a -o '{.containers[*].metadata.name} {.containers[*].id}' 2>/dev/null",
    "pods": "crioctl pods -o '{.items[*].metadata.name} {.items[*].id}' 2>/dev/null",
    "images": "crioctl images -o '{.images[*].repoTags[*]} {.images[*].id}' 2>/dev/null",
}
_ARGUMENTS = {
    "CONTAINER": "containers",
    "POD": "pods",
    "IMAGE": "images",
    "NAME[:TAG]": "images",
    "NAME[:TAG|@DIGEST]": "images",
}


@dataclass(slots=True)
class Option:
    """One option of a parser."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()
    dynamic: str = ""
    """A key of DYNAMIC, "files", or "" for nothing to offer."""


@dataclass(slots=True)
class Verb:
    """What can follow a verb."""

    names: tuple[str, ...]
    help: str
    options: list[Option] = field(default_factory=list)
    dynamic: str = ""
    choices: tuple[str, ...] = ()


def options_of(parser: argparse.ArgumentParser) -> list[Option]:
    """The options of a parser, hidden ones left out."""
    found = []
    for action in parser._actions:  # argparse has no public way to list them
        if action.option_strings and action.help is not argparse.SUPPRESS:
            metavar = action.metavar if isinstance(action.metavar, str) else ""
            found.append(
                Option(
                    tuple(action.option_strings),
                    (action.help or "").replace("%%", "%").replace("%(default)s", str(action.default)),
                    action.nargs != 0,
                    tuple(str(choice) for choice in action.choices or () if choice != ""),
                    "files" if metavar == "FILE" else _ARGUMENTS.get(metavar, ""),
                )
            )
    return found


def verbs() -> list[Verb]:
    """All verbs with their options."""
    found = []
    for entry in catalog.entries():
        parser = catalog.parser_for(entry, catalog.load(entry))
        verb = Verb((entry.name, *entry.aliases), entry.summary, options_of(parser))
        for action in parser._actions:
            if not action.option_strings and not verb.dynamic:
                metavar = action.metavar if isinstance(action.metavar, str) else ""
                verb.dynamic = _ARGUMENTS.get(metavar, "files" if "config" in metavar or "PATH" in metavar else "")
                verb.choices = tuple(map(str, action.choices or ()))
        found.append(verb)
    return found


def script(shell: str) -> str:
    """The completion script for `bash`, `zsh` or `fish`."""
    top = options_of(global_parser())
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](top, verbs())


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _function(shell: str, name: str) -> str:
    if shell == "fish":
        return f"function __crioctl_{name}; {DYNAMIC[name]}; end"
    return f"_crioctl_{name}() {{ {DYNAMIC[name]}; }}"


# -- bash


def _bash(top: Sequence[Option], all_verbs: Sequence[Verb]) -> str:
    with_value = "|".join(name for option in top if option.takes_value for name in option.names)
    lines = ["# bash completion for crioctl", ""]
    lines += [_function("bash", name) for name in DYNAMIC]
    lines += [
        "",
        "_crioctl() {",
        '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" verb="" i=1',
        "    COMPREPLY=()",
        "    while [ $i -lt $COMP_CWORD ]; do",
        '        case "${COMP_WORDS[i]}" in',
        f"            {with_value}) i=$((i + 1)) ;;",
        "            -*) ;;",
        '            *) verb="${COMP_WORDS[i]}"; break ;;',
        "        esac",
        "        i=$((i + 1))",
        "    done",
        '    case "$verb" in',
    ]
    lines += _bash_case("", top, " ".join(name for verb in all_verbs for name in verb.names), "")
    for verb in all_verbs:
        lines += _bash_case("|".join(verb.names), verb.options, " ".join(verb.choices), verb.dynamic)
    lines += ["    esac", "}", "", "complete -o default -F _crioctl crioctl", ""]
    return "\n".join(lines)


def _bash_case(pattern: str, options: Sequence[Option], words: str, dynamic: str) -> list[str]:
    values = [
        f"                {'|'.join(option.names)}) {_bash_words(' '.join(option.choices), option.dynamic)}; return ;;"
        for option in options
        if option.takes_value
    ]
    return [
        f"        {pattern or chr(34) * 2})",
        '            case "$prev" in',
        *values,
        "            esac",
        '            case "$cur" in',
        f"                -*) {_bash_words(' '.join(name for option in options for name in option.names), '')} ;;",
        f"                *) {_bash_words(words, dynamic)} ;;",
        "            esac ;;",
    ]


def _bash_words(words: str, dynamic: str) -> str:
    if dynamic in DYNAMIC:
        return f'COMPREPLY=($(compgen -W "$(_crioctl_{dynamic})" -- "$cur"))'
    if words:
        return f'COMPREPLY=($(compgen -W {_quote(words)} -- "$cur"))'
    return 'COMPREPLY=($(compgen -f -- "$cur"))' if dynamic == "files" else ":"


# -- zsh


def _zsh(top: Sequence[Option], all_verbs: Sequence[Verb]) -> str:
    lines = ["#compdef crioctl", ""]
    lines += [_function("zsh", name) for name in DYNAMIC]
    lines += ["", "_crioctl() {", "    local context state line", "    _arguments -C \\"]
    lines += [f"        {_zsh_option(option)} \\" for option in top]
    lines += [
        "        '1:command:->verb' '*::argument:->rest'",
        '    case "$state" in',
        "        verb)",
        "            local -a verbs=(",
    ]
    for verb in all_verbs:
        lines += [f"                {_quote(name + ':' + _zsh_text(verb.help))}" for name in verb.names]
    lines += [
        "            )",
        "            _describe command verbs ;;",
        "        rest)",
        '            case "$line[1]" in',
    ]
    for verb in all_verbs:
        lines.append(f"                {'|'.join(verb.names)})")
        lines.append("                    _arguments \\")
        lines += [f"                        {_zsh_option(option)} \\" for option in verb.options]
        lines.append(f"                        {_quote('*:argument:' + _zsh_values(verb.choices, verb.dynamic))} ;;")
    lines += ["            esac ;;", "    esac", "}", "", "compdef _crioctl crioctl", ""]
    return "\n".join(lines)


def _zsh_option(option: Option) -> str:
    text = f"[{_zsh_text(option.help)}]"
    value = f":value:{_zsh_values(option.choices, option.dynamic)}" if option.takes_value else ""
    if len(option.names) == 1:
        return _quote(option.names[0] + text + value)
    return f"{_quote('(' + ' '.join(option.names) + ')')}{{{','.join(option.names)}}}{_quote(text + value)}"


def _zsh_text(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def _zsh_values(choices: Sequence[str], dynamic: str) -> str:
    if choices:
        return f"({' '.join(choices)})"
    if dynamic in DYNAMIC:
        return f"($(_crioctl_{dynamic}))"
    return "_files" if dynamic == "files" else " "


# -- fish


def _fish(top: Sequence[Option], all_verbs: Sequence[Verb]) -> str:
    lines = ["# fish completion for crioctl", ""]
    lines += [_function("fish", name) for name in DYNAMIC]
    lines += ["", "complete -c crioctl -f"]
    lines += [f"complete -c crioctl -n __fish_use_subcommand{_fish_option(option)}" for option in top]
    for verb in all_verbs:
        for name in verb.names:
            lines.append(f"complete -c crioctl -n __fish_use_subcommand -a {name} -d {_fish_quote(verb.help)}")
        seen = _fish_quote(f"__fish_seen_subcommand_from {' '.join(verb.names)}")
        lines += [f"complete -c crioctl -n {seen}{_fish_option(option)}" for option in verb.options]
        if verb.choices:
            lines.append(f"complete -c crioctl -n {seen} -a {_fish_quote(' '.join(verb.choices))}")
        elif verb.dynamic in DYNAMIC:
            lines.append(f"complete -c crioctl -n {seen} -a '(__crioctl_{verb.dynamic})'")
        elif verb.dynamic == "files":
            lines.append(f"complete -c crioctl -n {seen} -F")
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    parts = [f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names]
    parts.append(f" -d {_fish_quote(option.help)}")
    if option.takes_value:
        parts.append(" -r")
        if option.choices:
            parts.append(f" -a {_fish_quote(' '.join(option.choices))}")
        elif option.dynamic in DYNAMIC:
            parts.append(f" -a '(__crioctl_{option.dynamic})'")
        elif option.dynamic == "files":
            parts.append(" -F")
    return "".join(parts)


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
