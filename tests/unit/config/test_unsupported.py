from __future__ import annotations

import re
from pathlib import Path

from crio.config import parse
from crio.config.catalog import entries
from crio.config.unsupported import UNSUPPORTED, UNSUPPORTED_OF_HANDLERS, unsupported_lines

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


def test_every_name_is_a_key() -> None:
    assert set(UNSUPPORTED) <= set(entries())


def test_only_keys_that_ask_for_something_are_told() -> None:
    config = parse('[crio.runtime]\nrdt_config_file = "/x"\nuid_mappings = ""\n[crio.nri]\nenable_nri = false\n', "x")
    named = {"crio.runtime.rdt_config_file", "crio.runtime.uid_mappings"}
    told = [line for line in unsupported_lines(config, named) if "rdt" in line or "mappings" in line]
    if "crio.runtime.rdt_config_file" in UNSUPPORTED:
        assert [line.split(":")[0] for line in told] == ["rdt_config_file has no effect yet"]
    named = {"crio.nri.enable_nri"}
    if "crio.nri.enable_nri" in UNSUPPORTED:
        assert list(unsupported_lines(config, named)) == [f"enable_nri has no effect yet: {UNSUPPORTED[named.pop()]}"]


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
        if entry.dotted not in UNSUPPORTED
        and entry.dotted not in READ_WITHIN
        and not ("runtimes.*" in entry.table and entry.name in UNSUPPORTED_OF_HANDLERS)
        and not any(re.search(rf"\b{entry.name}\b", text) for text in texts)
    ]
    assert silent == []
