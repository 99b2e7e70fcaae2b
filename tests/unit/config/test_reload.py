from __future__ import annotations

from crio.config import Config, parse
from crio.config.reload import diff, plan_reload


def config(text: str) -> Config:
    return parse(text, "x")


def test_nothing_changed() -> None:
    plan = plan_reload(config(""), config(""))
    assert list(plan.report()) == ["configuration reloaded; nothing changed"]
    assert plan.config == config("")


def test_live_keys_are_taken_over_and_others_wait() -> None:
    running = config('[crio]\nroot = "/a"\n[crio.runtime]\nlog_level = "info"\n')
    loaded = config(
        '[crio]\nroot = "/b"\n[crio.runtime]\nlog_level = "debug"\n[crio.image]\npinned_images = ["a", "b"]\n'
        "[crio.nri.default_validator]\nnri_enable_default_validator = true\n"
    )
    plan = plan_reload(running, loaded)
    assert list(plan.report()) == [
        'configuration reloaded: crio.runtime.log_level: "info" -> "debug"',
        'configuration reloaded: crio.image.pinned_images: [] -> [ "a", "b", ]',
        'configuration: needs a restart: crio.root: "/a" -> "/b"',
        "configuration: needs a restart: crio.nri.default_validator.nri_enable_default_validator: false -> true",
    ]
    assert plan.config.crio.root == "/a"
    assert plan.config.runtime.log_level == "debug"
    assert plan.config.image.pinned_images == ("a", "b")
    assert plan.config.nri == running.nri


def test_monitors_stay_with_the_manager_of_control_groups_that_waits_for_a_restart() -> None:
    running = config('[crio.runtime]\ncgroup_manager = "cgroupfs"\n[crio.runtime.runtimes.a]\nruntime_path = "/a"\n')
    loaded = config(
        '[crio.runtime.runtimes.a]\nruntime_path = "/a"\nmonitor_cgroup = "system.slice"\n'
        '[crio.runtime.runtimes.b]\nruntime_path = "/b"\nmonitor_cgroup = "system.slice"\n'
    )
    plan = plan_reload(running, loaded)
    assert list(plan.report()) == [
        "configuration reloaded: crio.runtime.runtimes.b: added",
        'configuration: needs a restart: crio.runtime.cgroup_manager: "cgroupfs" -> "systemd"',
    ]
    assert {handler.monitor_cgroup for handler in plan.config.runtime.runtimes.values()} == {""}


def test_handlers_and_workloads_come_change_and_go() -> None:
    running = config(
        '[crio.runtime.runtimes.a]\nruntime_path = "/a"\n[crio.runtime.runtimes.b]\nruntime_path = "/b"\n'
        '[crio.runtime.workloads.w]\nactivation_annotation = "x"\nresources = {cpushares = 1}\n'
    )
    loaded = config(
        '[crio.runtime.runtimes.b]\nruntime_path = "/b2"\n[crio.runtime.runtimes.c]\nruntime_path = "/c"\n'
        '[crio.runtime.workloads.w]\nactivation_annotation = "x"\nresources = {cpushares = 2}\n'
    )
    assert [str(change) for change in diff(running, loaded)] == [
        "crio.runtime.runtimes.a: removed",
        'crio.runtime.runtimes.b.runtime_path: "/b" -> "/b2"',
        "crio.runtime.runtimes.c: added",
        "crio.runtime.workloads.w.resources.cpushares: 1 -> 2",
    ]
    assert plan_reload(running, loaded).config == loaded
