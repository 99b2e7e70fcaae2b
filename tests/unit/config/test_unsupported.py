from __future__ import annotations

import re
from pathlib import Path

import pytest

from crio.config import parse
from crio.config.catalog import entries
from crio.config.unsupported import (
    ALWAYS,
    OTHERWISE,
    OTHERWISE_OF_HANDLERS,
    UNSUPPORTED,
    UNSUPPORTED_OF_HANDLERS,
    note,
    unsupported_lines,
)

SOURCE = Path(__file__).parents[3] / "src" / "crio"

READ_WITHIN = {
    "crio.version_file",
    "crio.version_file_persist",
    "crio.internal_wipe",
    "crio.runtime.conmon_cgroup",
    "crio.runtime.conmon_env",
    "crio.runtime.default_mounts",
    "crio.runtime.enable_criu_support",
    "crio.image.insecure_registries",
    "crio.network.plugin_dir",
    "crio.runtime.runtimes.*.inherit_default_runtime",
}
"""Keys which config/ itself turns into others, or whose own text says that they have no effect."""


def test_every_name_is_a_key_and_in_one_place() -> None:
    names = [*UNSUPPORTED, *OTHERWISE, *ALWAYS]
    assert set(names) <= set(entries())
    assert len(names) == len(set(names))


def _told(text: str, *named: str) -> list[str]:
    return list(unsupported_lines(parse(text, "x"), set(named)))


def test_only_keys_that_ask_for_something_are_told() -> None:
    text = '[crio.runtime]\nrdt_config_file = "/x"\nuid_mappings = ""\n'
    named = ("crio.runtime.rdt_config_file", "crio.runtime.uid_mappings")
    if "crio.runtime.rdt_config_file" in UNSUPPORTED:
        assert [line.split(":")[0] for line in _told(text, *named)] == ["rdt_config_file has no effect yet"]
    assert _told(text) == []


@pytest.mark.parametrize(
    ("dotted", "wanted", "not_wanted"),
    [
        ("crio.nri.enable_nri", "true", "false"),
        ("crio.checkpoint_restore.container_level_enabled", '"checkpoint_restore"', '"none"'),
        ("crio.runtime.irqbalance_config_restore_file", '"/etc/sysconfig/irq"', '"disable"'),
    ],
)
def test_a_feature_that_is_not_wanted_is_not_told_to_be_missing(dotted: str, wanted: str, not_wanted: str) -> None:
    table, _, name = dotted.rpartition(".")
    if dotted in UNSUPPORTED:
        assert _told(f"[{table}]\n{name} = {wanted}\n", dotted) == [f"{name} has no effect yet: {UNSUPPORTED[dotted]}"]
    assert _told(f"[{table}]\n{name} = {not_wanted}\n", dotted) == []


def test_what_is_done_otherwise_is_not_told_as_if_it_were_to_come() -> None:
    assert _told('[crio.runtime]\npinns_path = "/usr/bin/pinns"\n', "crio.runtime.pinns_path") == [
        "pinns_path has no effect: namespaces are kept by this daemon itself"
    ]


def test_a_directory_that_gets_no_logs_is_told() -> None:
    assert _told('[crio]\nlog_dir = "/logs"\n', "crio.log_dir") == [
        "log_dir has no effect: a container whose pod names no log directory has no log"
    ]


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_switch_of_what_is_always_done_is_not_told(value: str) -> None:
    assert _told(f"[crio.runtime]\nenable_pod_events = {value}\n", "crio.runtime.enable_pod_events") == []
    assert note("crio.runtime.enable_pod_events") == "no effect: events are always served"
    assert note("crio.runtime.log_level") == ""


def test_handlers_that_cannot_be_used_and_their_keys_are_told() -> None:
    config = parse(
        '[crio.runtime.runtimes.kata]\nruntime_path = "/usr/bin/containerd-shim-kata-v2"\nruntime_type = "vm"\n'
        '[crio.runtime.runtimes.wasm]\nruntime_path = "/usr/bin/crun"\nruntime_pull_image = true\n',
        "x",
    )
    told = [line.split(":")[0] for line in unsupported_lines(config, set())]
    if "runtime_pull_image" in UNSUPPORTED_OF_HANDLERS:
        assert "runtime_pull_image of runtime handler wasm has no effect yet" in told
    assert all("kata" in line or "wasm" in line for line in told)


def test_every_key_is_read_or_is_said_to_have_no_effect() -> None:
    texts = [
        path.read_text()
        for path in SOURCE.rglob("*.py")
        if not {"config", "api", "cli"} & set(path.relative_to(SOURCE).parts[:1])
    ]
    silent = [
        entry.dotted
        for entry in entries().values()
        if entry.dotted not in {*UNSUPPORTED, *OTHERWISE, *ALWAYS}
        and entry.dotted not in READ_WITHIN
        and not ("runtimes.*" in entry.table and entry.name in {*UNSUPPORTED_OF_HANDLERS, *OTHERWISE_OF_HANDLERS})
        and not any(re.search(rf"\b{entry.name}\b", text) for text in texts)
    ]
    assert silent == []
