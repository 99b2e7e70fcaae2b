"""`crio config explain KEY...`: what a key is, does, and has as its value here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crio.base.errors import NotFound
from crio.cli.crio_commands.command import Call
from crio.cli.crio_commands.parser import UsageError

if TYPE_CHECKING:
    from crio.config.catalog import Entry


def run(call: Call) -> int:
    from crio.config import default_config, load
    from crio.config.catalog import value_of
    from crio.config.convert import to_toml
    from crio.config.printer import explain

    if not call.arguments:
        raise UsageError("name a key, such as log_level", call.path)
    loaded = load(call.global_flags, check_host=False)
    defaults = default_config()
    entries = [entry for name in call.arguments for entry in _find(name)]
    for number, entry in enumerate(entries):
        if number:
            print()
        print(explain(entry))
        if "*" in entry.table:
            continue
        value = value_of(loaded.config, entry)
        source = loaded.sources.get(entry.dotted)
        where = f"from {source}" if source else "the default"
        if not source and value != entry.default:
            where = "the default of this machine" if value == value_of(defaults, entry) else "corrected"
        print(f"Value:    {to_toml(entry, value)} ({where})")
    return 0


def _find(name: str) -> list[Entry]:
    from crio.config.catalog import entries

    wanted = name.replace("NAME", "*")
    found = [entry for entry in entries().values() if wanted in (entry.dotted, entry.name, entry.flag, entry.env)]
    if found:
        return found
    import difflib

    near = difflib.get_close_matches(name, [*entries(), *(entry.name for entry in entries().values())], 1)
    raise NotFound(f'there is no key "{name}"' + (f"; the nearest is {near[0]}" if near else ""))
