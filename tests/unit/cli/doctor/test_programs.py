from __future__ import annotations

from pathlib import Path

from crio.cli.doctor.finding import Level, Patient
from crio.cli.doctor.programs import check
from crio.config import LoadedConfig, parse


def test_runtimes_that_run_and_that_do_not(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("#!/bin/sh\necho good version 9.1\n")
    bad.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    for path in (good, bad):
        path.chmod(0o755)
    config = parse(
        f'[crio.runtime]\ndefault_runtime = "good"\n[crio.runtime.runtimes.good]\nruntime_path = "{good}"\n'
        f'[crio.runtime.runtimes.bad]\nruntime_path = "{bad}"\n[crio.runtime.runtimes.none]\nruntime_path = "/none"\n',
        "x",
    )
    found = list(check(Patient(LoadedConfig(config, (), {}, (), "", "", {}), "/nowhere")))
    assert next(each for each in found if each.level is Level.OK) == (
        Level.OK,
        "runtimes",
        f"good (the default): {good}, version 9.1",
        "",
    )
    errors = {each.text for each in found if each.level is Level.ERROR}
    assert errors >= {f"bad: {bad} --version fails: no such library", "none: /none does not exist"}
