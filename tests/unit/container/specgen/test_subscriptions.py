from __future__ import annotations

from pathlib import Path

from crio.container.specgen.plan import CopyTree, Notes
from crio.container.specgen.subscriptions import subscription_mounts


def test_lines(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    config = tmp_path / "mounts.conf"
    config.write_text(f"# comment\n\n{secret}:/run/secrets\n{secret}\n/no/such/path:/x\nrelative:/y\n{secret}:/\n")
    notes = Notes("/run/c")
    mounts = subscription_mounts(str(config), owner=(1, 2), notes=notes)
    assert [mount.destination for mount in mounts] == ["/run/secrets", str(secret)]
    assert notes.effects[0] == CopyTree(str(secret), "/run/c/subscriptions/run/secrets", 1, 2)


def test_no_file_and_a_changed_one(tmp_path: Path) -> None:
    config = tmp_path / "mounts.conf"
    notes = Notes("/run/c")
    assert subscription_mounts(str(config), owner=(0, 0), notes=notes) == []
    config.write_text(f"{tmp_path}:/a\n")
    assert len(subscription_mounts(str(config), owner=(0, 0), notes=notes)) == 1
    config.write_text(f"{tmp_path}:/a\n{tmp_path}:/b\n")
    assert len(subscription_mounts(str(config), owner=(0, 0), notes=notes)) == 2
