"""Who looks for a module's tests finds them at the same place below tests/unit, or finds here why not."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "crio"
TESTS = ROOT / "tests" / "unit"

WHOLE_ROOMS = {
    "api": "generated",
    "cli/crio_commands": "one verb each: tests/unit/cli/test_crio*.py run the program",
    "cli/crioctl/commands": "one verb each: tests/unit/cli/crioctl run the program against a daemon",
    "config/tables": "tables of keys: test_every_key.py goes through all of them",
}
"""Folders whose modules have no test file of their own."""

OTHERWISE_TESTED = {
    "cli/crioctl": "arguments catalog creating each imagelist listing progress pulling session usage",
    "cli/crioctl/streams": "pipe spdy websocket",
    "cli/doctor": "configuration daemon examination finding questions",
    "cli/demo": "daemon rich_display",
    "config": "catalog convert handlers host key model problem retired validate",
    "conmon": "control launch loop output pause record sockets starter stdin",
    "container": "create exec manager seccomp_artifact spec_inputs",
    "container/specgen": "input",
    "cri": "container_attach container_checkpoint container_create container_exec container_exec_sync "
    "container_list container_remove container_reopen_log container_start container_stats "
    "container_status container_stop container_update events image_fs_info image_list image_pull "
    "image_remove image_status node pod_metrics runtime_config runtime_config_update sandbox_list "
    "sandbox_port_forward sandbox_remove sandbox_run sandbox_stats sandbox_status sandbox_stop "
    "sandbox_update status version",
    "daemon": "described main observation wiring",
    "image": "credential_helper errors records",
    "image/registry": "authorization",
    "image/source": "base registry",
    "image/decryption": "keys",
    "image/trust": "certificates openpgp_packets rejection rekor requirements scopes sources",
    "image/worker": "client jobs program",
    "linux": "libc",
    "linux/cgroup": "base detect figures_v1 figures_v2 v1 v2",
    "network": "chain localnet plugin",
    "network/builtin": "pod_interface",
    "sandbox": "manager network",
    "spec": "docker_image oci_image",
    "storage": "containers export images layers tarsplit_file",
    "storage/driver": "whole",
    "streaming": "backend",
    "telemetry": "metric otlp process text",
    "wire": "http2_events tar_sparse",
}
"""Modules that are tested through the one that uses them."""

WHY = {
    "cli/crioctl": "test_program.py, test_life.py and test_completion.py run the program, of which these are parts",
    "cli/crioctl/streams": "test_remote.py and test_forward.py speak each protocol to a server",
    "cli/doctor": "integration/test_observed.py examines a running node",
    "cli/demo": "they run a daemon and paint a terminal: test_story.py, and ./dev demo itself",
    "config": "test_loader.py and test_every_key.py go through the door, `load`, with good and bad files",
    "conmon": "programs of few processes: test_serving.py, test_client.py and test_zygote.py run them as such",
    "container": "they join all rooms: tests/integration",
    "container/specgen": "a data class: test_build.py fills it",
    "cri": "each decodes, calls one function and encodes: tests/integration makes the calls; test_table.py their types",
    "daemon": "they join all rooms: tests/integration",
    "image": "test_service.py and test_credentials.py",
    "image/registry": "test_client.py answers every kind of challenge",
    "image/source": "a protocol, and the registry client behind it: test_copy.py",
    "image/decryption": "test_layer.py: the keys of a directory, and JSON web keys",
    "image/trust": "test_sigstore.py has chains and logs, test_openpgp.py packets, test_policy.py what policies say",
    "image/worker": "test_service.py runs the worker as the process that it is",
    "linux": "declarations of the C library",
    "linux/cgroup": "test_cgroup.py and test_figures.py run every operation on the hierarchies that the machine has",
    "network": "test_manager.py",
    "network/builtin": "test_bridge.py",
    "sandbox": "the manager joins all rooms: tests/integration; the other is in test_sandbox.py",
    "spec": "test_documents.py in image",
    "storage": "parts of the store: test_store.py",
    "storage/driver": "what two drivers inherit: test_base.py holds each driver to one contract",
    "streaming": "protocols",
    "telemetry": "test_metrics.py, test_export.py and test_monitoring.py read what they write",
    "wire": "data classes: test_http2.py; test_tar.py reads what GNU tar writes, and broken maps",
}


def modules() -> list[str]:
    """Every module below src/crio as ROOM/NAME, but those of `WHOLE_ROOMS`."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).with_suffix("").as_posix()
        if path.name not in ("__init__.py", "__main__.py") and not name.startswith(tuple(f"{r}/" for r in WHOLE_ROOMS)):
            found.append(name)
    return found


def excepted() -> set[str]:
    return {f"{room}/{name}" for room, names in OTHERWISE_TESTED.items() for name in names.split()}


def has_tests(module: str) -> bool:
    """test_NAME.py at the mirrored place, or several test_NAME_SUBJECT.py."""
    room, _, name = module.rpartition("/")
    return (TESTS / room / f"test_{name}.py").exists() or any((TESTS / room).glob(f"test_{name}_*.py"))


@pytest.mark.parametrize("module", modules())
def test_a_module_has_its_tests_where_one_looks_for_them(module: str) -> None:
    assert has_tests(module) or module in excepted(), (
        f"src/crio/{module}.py has no tests/unit/{module.rpartition('/')[0]}/test_{module.rpartition('/')[2]}.py: "
        "write it, or say in tests/test_mirror.py where the module is tested"
    )


def test_exceptions_are_of_modules_that_exist_and_have_a_reason() -> None:
    assert excepted() <= set(modules())
    assert set(OTHERWISE_TESTED) == set(WHY)
    assert all((SOURCE / room).is_dir() for room in WHOLE_ROOMS)


def test_test_files_mirror_a_room() -> None:
    rooms = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert {room for room in rooms if not (SOURCE / room).is_dir()} == set()
