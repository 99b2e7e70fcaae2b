from __future__ import annotations

from crio.config import parse
from crio.config.catalog import entries
from crio.config.unsupported import UNSUPPORTED, unsupported_lines


def test_every_name_is_a_key() -> None:
    assert set(UNSUPPORTED) <= set(entries())


def test_only_keys_that_ask_for_something_are_told() -> None:
    config = parse('[crio.runtime]\nrdt_config_file = "/x"\nuid_mappings = ""\n', "x")
    named = {"crio.runtime.rdt_config_file", "crio.runtime.uid_mappings"}
    assert [line.split(":")[0] for line in unsupported_lines(config, named)] == ["rdt_config_file has no effect yet"]
