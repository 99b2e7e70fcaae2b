from __future__ import annotations

import tomllib
from pathlib import Path

from crio.config import parse
from crio.config.catalog import entries
from crio.config.printer import explain, print_config
from crio.config.reload import diff

CONTRIB = Path(__file__).parents[3] / "contrib" / "config"


def lines_with_values(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith(("#", "["))]


def test_defaults_are_comments_but_for_what_scripts_look_for() -> None:
    defaults = parse("", "x")
    assert lines_with_values(print_config(defaults, defaults)) == [
        'cgroup_manager = "systemd"',
        'pause_image = "registry.k8s.io/pause:3.10.1"',
    ]


def test_what_was_set_is_no_comment() -> None:
    config = parse('[crio.image]\npinned_images = ["a", "b"]\n[crio.api]\nstream_idle_timeout = "90s"\n', "x")
    assert lines_with_values(print_config(config, parse("", "x"), comments=False)) == [
        'stream_idle_timeout = "1m30s"',
        'cgroup_manager = "systemd"',
        'pause_image = "registry.k8s.io/pause:3.10.1"',
        "pinned_images = [",
        '\t"a",',
        '\t"b",',
        "]",
    ]


def test_a_commented_default_may_be_uncommented() -> None:
    defaults = parse("", "x")
    text = print_config(defaults, defaults)
    live = []
    for line in text.splitlines():
        bare = line.removeprefix("# ")
        is_key = bare.split(" = ")[0].replace("_", "a").isalnum() and " = " in bare
        live.append(bare if is_key or bare.startswith(("[crio", "\t", "]")) else line)
    assert parse("\n".join(live), "y") == defaults


def test_what_the_daemon_tells_makes_its_configuration_again_also_where_selinux_is_the_default() -> None:
    of_this_machine = parse("[crio.runtime]\nselinux = true\n", "x")
    told = print_config(of_this_machine, of_this_machine, all_written=True, comments=False)
    assert list(diff(parse(told, "y"), of_this_machine)) == []


def test_a_key_without_effect_says_so() -> None:
    defaults = parse("", "x")
    words = " ".join(print_config(defaults, defaults).replace("#", " ").split())
    assert "Let NRI plug-ins see and adjust containers. It has no effect yet: NRI plug-ins are not called." in words
    assert "GetContainerEvents). It has no effect: events are always served." in words
    assert "Empty: PATH only. It has no effect yet: runtimes are called with PATH alone." in words


def test_odd_names_and_values_are_quoted() -> None:
    text = '[crio.runtime.runtimes."a.b"]\nruntime_path = "/x\\"\\\\\\u0001"\n'
    config = parse(text, "x")
    printed = print_config(config, parse("", "y"))
    assert tomllib.loads(printed)["crio"]["runtime"]["runtimes"]["a.b"]["runtime_path"] == '/x"\\\x01'


def test_the_shipped_files_are_up_to_date() -> None:
    defaults = parse("", "x")
    assert (CONTRIB / "crio.conf").read_text() == print_config(defaults, defaults)
    assert parse((CONTRIB / "crio.conf").read_text(), "crio.conf") == defaults
    shipped = parse((CONTRIB / "10-crio.conf").read_text(), "10-crio.conf")
    assert [change.dotted for change in diff(defaults, shipped)] == ["crio.network.plugin_dirs"]


def test_explain_says_all() -> None:
    assert explain(entries()["crio.image.image_volumes"]).splitlines()[-5:] == [
        "Type:     string",
        'Default:  "mkdir"',
        "Reload:   SIGHUP is enough",
        "Also as:  --image-volumes, CONTAINER_IMAGE_VOLUMES",
        'Values:   "mkdir", "bind", "ignore"',
    ]
