"""What the product has logged, apart from what others log meanwhile, as asyncio of an earlier test's tasks."""

from __future__ import annotations

import logging

import pytest


def of_crio(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name.partition(".")[0] == "crio"]
