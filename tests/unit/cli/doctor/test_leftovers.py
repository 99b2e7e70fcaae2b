from __future__ import annotations

from pathlib import Path

from crio.cli.doctor.finding import Level, Patient
from crio.cli.doctor.leftovers import check
from crio.config import LoadedConfig, parse
from fake_cri import FakeCri

POD, LOST = "1a" * 32, "2b" * 32


def test_what_has_the_id_of_nothing_is_told(tmp_path: Path) -> None:
    for name in ("ns/netns", "state/sandboxes", "lib/network"):
        (tmp_path / name).mkdir(parents=True)
        suffix = ".json" if "network" in name else ""
        for identifier in (POD, LOST):
            (tmp_path / name / f"{identifier}{suffix}").touch()
    (tmp_path / "ns/netns/podman-1").touch()
    config = parse(
        f'[crio]\nclean_shutdown_file = "{tmp_path}/lib/clean"\n'
        f'[crio.runtime]\nnamespaces_dir = "{tmp_path}/ns"\ncontainer_attach_socket_dir = "{tmp_path}/state"\n',
        "x",
    )
    fake = FakeCri(str(tmp_path / "cri.sock"))
    fake.add_pod(POD, "web")
    fake.start()
    try:
        patient = Patient(LoadedConfig(config, (), {}, (), "", "", {}), str(tmp_path / "cri.sock"))
        found = [each for each in check(patient) if each.level is Level.WARNING and str(tmp_path) in each.text]
    finally:
        fake.stop()
    assert [each.text.split(" belong")[0] for each in found] == [
        "1 namespaces",
        "1 records of pods",
        "1 network attachments",
    ]
    assert all(LOST in each.text and POD not in each.text for each in found)


def test_without_a_daemon_nothing_can_be_told(tmp_path: Path) -> None:
    config = parse("", "x")
    patient = Patient(LoadedConfig(config, (), {}, (), "", "", {}), str(tmp_path / "none"))
    assert list(check(patient)) == []
