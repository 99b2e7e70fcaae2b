"""The alert rules and the dashboard ask only for metrics and labels that the daemon has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crio.config.tables.observability import COLLECTORS
from crio.telemetry.metrics import Metrics

FILES = Path(__file__).parents[3] / "contrib" / "monitoring"
_NAME = re.compile(r"\b(?:container_runtime_crio|crio|process|python)_\w+")
_BY = re.compile(r"by \(([^)]*)\)")


def expressions() -> Iterator[str]:
    for group in yaml.safe_load((FILES / "crio-rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["summary"]
            yield rule["expr"]
    for panel in json.loads((FILES / "crio-dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def known() -> dict[str, set[str]]:
    """Names of lines that a scrape may have, with their labels."""
    metrics = Metrics(COLLECTORS, count_defunct=lambda: 0.0)
    metrics.rpc("Version", "INTERNAL", 0.1)
    metrics.stage("job", "stage", 0.1)
    metrics.cni_plugin("bridge", "ADD", 0.1)
    metrics.runtime_call("crun", "create", 0.1)
    metrics.layer_pulled("x", 1)
    metrics.layer_reused("x", 1)
    metrics.pull_failed("x")
    metrics.container_oom("x")
    metrics.monitor_stopped("x")
    metrics.stalled("x")
    found: dict[str, set[str]] = {}
    for line in metrics.text().splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', line))
    return found


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_what_there_is(expression: str) -> None:
    names = known()
    asked = _NAME.findall(expression)
    assert asked or "up{" in expression
    labels: set[str] = {"instance", "job"}
    for name in asked:
        assert name in names
        labels |= names[name]
    for group in _BY.findall(expression):
        assert {label.strip() for label in group.split(",")} <= labels


def test_the_first_event_of_a_container_is_an_increase() -> None:
    """A line with a container's name begins with that event, so that increase() alone never sees it."""
    names, looked = known(), []
    for expression in expressions():
        words = " ".join(expression.split())
        for name, time in re.findall(r"increase\((\w+)\[(\w+)\]\)+ > 0", words):
            if "name" in names[name]:
                assert f"{name} unless {name} offset {time}" in words
                looked.append(name)
    assert looked


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on this machine")
def test_promtool_accepts_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", str(FILES / "crio-rules.yaml")], check=True)
