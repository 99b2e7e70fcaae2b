"""Which annotations a handler or workload can allow."""

from __future__ import annotations

import pytest

from crio.config.annotations import check_allowed
from crio.spec import annotations as names


def test_names_in_both_spellings() -> None:
    check_allowed([names.DEVICES, "io.kubernetes.cri-o.Devices", "run.oci.", "org.systemd.property.", names.RDT_CLASS])
    check_allowed([names.ULIMITS, names.ROOTFS_QUOTA, names.SHM_SIZE])


@pytest.mark.parametrize(("name", "hint"), [("team", "no special meaning$"), ("device.crio.io", "is devices.crio.io")])
def test_what_has_no_special_meaning(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        check_allowed([name])
