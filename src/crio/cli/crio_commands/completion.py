"""`crio completion bash|fish|zsh`: a completion script, made from the table of commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crio.cli.crio_commands.command import Call, Command, Flag
from crio.cli.crio_commands.help import visible_flags
from crio.cli.crio_commands.parser import UsageError
from crio.cli.crio_commands.table import PROGRAM, SHELLS


def run(call: Call) -> int:
    shell = call.arguments[0] if call.arguments else "bash"
    if shell not in SHELLS or len(call.arguments) > 1:
        raise UsageError(f"name one shell of {', '.join(SHELLS)}", call.path)
    print(script(shell, PROGRAM), end="")
    return 0


def script(shell: str, program: Command) -> str:
    """A script that completes `program` in bash, fish or zsh."""
    makers = {"bash": _bash, "fish": _fish, "zsh": _zsh}
    return "".join(f"{line}\n" for line in makers[shell](program))


def _walk(path: Sequence[Command]) -> Iterator[Sequence[Command]]:
    yield path
    for inner in path[-1].shown:
        yield from _walk((*path, inner))


def _dashed(flag: Flag) -> list[str]:
    return [f"-{name}" if len(name) == 1 else f"--{name}" for name in (flag.name, *flag.aliases)]


def _bash(program: Command) -> Iterator[str]:
    name = program.name
    yield f"_{name}() {{"
    yield '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" path="" step'
    yield '  for step in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield '    case "$path/$step" in'
    for path in _walk((program,)):
        if len(path) < 2:
            continue
        parent = "".join(f"/{step.name}" for step in path[1:-1])
        patterns = "|".join(f'"{parent}/{alias}"' for alias in (path[-1].name, *path[-1].aliases))
        yield f'      {patterns}) path="{parent}/{path[-1].name}" ;;'
    yield "    esac"
    yield "  done"
    yield '  local words="" files=""'
    yield '  case "$path" in'
    for path in _walk((program,)):
        command = path[-1]
        key = "".join(f"/{step.name}" for step in path[1:])
        words = [inner.name for inner in command.shown] + list(command.words)
        words += [dashed for flag in visible_flags(command) for dashed in _dashed(flag)]
        yield f'    "{key}") words="{" ".join(words)}"{"; files=1" if command.file_arguments else ""} ;;'
    yield "  esac"
    yield '  case "$path:$before" in'
    for path in _walk((program,)):
        key = "".join(f"/{step.name}" for step in path[1:])
        for flag in visible_flags(path[-1]):
            if not flag.value:
                continue
            patterns = "|".join(f'"{key}:{dashed}"' for dashed in _dashed(flag))
            choices = " ".join(choice for choice in flag.choices if choice)
            yield f'    {patterns}) words="{choices}"{"; files=1" if flag.file else ""} ;;'
    yield "  esac"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield '  if [ -n "$files" ]; then COMPREPLY+=($(compgen -f -- "$word")); fi'
    yield "}"
    yield f"complete -o filenames -F _{name} {name}"


def _fish(program: Command) -> Iterator[str]:
    name = program.name
    yield f"complete -c {name} -f"
    for path in _walk((program,)):
        command = path[-1]
        condition = _fish_condition(path)
        for inner in command.shown:
            yield f"complete -c {name} -n '{condition}' -a {inner.name} -d {_quoted(inner.text)}"
        if command.words:
            yield f"complete -c {name} -n '{condition}' -a '{' '.join(command.words)}'"
        if command.file_arguments:
            yield f"complete -c {name} -n '{condition}' -F"
        for flag in visible_flags(command):
            names = "".join(f" -{'s' if len(alias) == 1 else 'l'} {alias}" for alias in (flag.name, *flag.aliases))
            value = (" -r -F" if flag.file else " -x") if flag.value else ""
            choices = f" -a '{' '.join(choice for choice in flag.choices if choice)}'" if flag.choices else ""
            yield f"complete -c {name} -n '{condition}'{names}{value}{choices} -d {_quoted(_first_sentence(flag.text))}"


def _fish_condition(path: Sequence[Command]) -> str:
    seen = "; and ".join(f"__fish_seen_subcommand_from {' '.join((step.name, *step.aliases))}" for step in path[1:])
    inner = " ".join(command.name for command in path[-1].shown)
    unseen = f"not __fish_seen_subcommand_from {inner}" if inner else ""
    return "; and ".join(part for part in (seen, unseen) if part) or "true"


def _zsh(program: Command) -> Iterator[str]:
    name = program.name
    yield f"#compdef {name}"
    for path in _walk((program,)):
        function = "_" + "_".join(step.name for step in path)
        command = path[-1]
        yield f"{function}() {{"
        if command.shown:
            yield "  local state line"
        yield "  _arguments -C \\"
        for flag in visible_flags(command):
            for dashed in _dashed(flag):
                text = _zsh_escape(_first_sentence(flag.text))
                action = ""
                if flag.value:
                    values = f"({' '.join(choice for choice in flag.choices if choice)})" if flag.choices else ""
                    action = f":{flag.value}:{values or ('_files' if flag.file else '')}"
                yield f"    {_quoted(f'{dashed}[{text}]{action}')} \\"
        if command.shown:
            yield "    '1:command:->command' '*::argument:->argument'"
        elif command.words:
            yield f"    '*:argument:({' '.join(command.words)})'"
        else:
            yield "    '*:argument:_files'" if command.file_arguments else "    && return"
        if command.shown:
            yield '  case "$state" in'
            yield "    command) local -a commands=("
            for inner in command.shown:
                yield f"      {_quoted(inner.name + ':' + inner.text)}"
            yield "    ); _describe command commands ;;"
            yield '    argument) case "$line[1]" in'
            for inner in command.shown:
                yield f"      {'|'.join((inner.name, *inner.aliases))}) {function}_{inner.name} ;;"
            yield "    esac ;;"
            yield "  esac"
        yield "}"
    yield f'_{name} "$@"'


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")


def _zsh_escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
