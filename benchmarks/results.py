"""Samples of every contestant, figure by figure, and what is told of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PROJECT = "crio"
"""The contestant to which all ratios refer."""


@dataclass
class Figure:
    """One measured quantity. `goal` is the text of a target, and `reached` whether the project's median meets it."""

    name: str
    unit: str
    more_is_better: bool = False
    samples: dict[str, list[float]] = field(default_factory=dict)
    goal: str = ""
    reached: bool | None = None

    def add(self, contestant: str, value: float) -> None:
        self.samples.setdefault(contestant, []).append(value)

    def median(self, contestant: str) -> float | None:
        values = self.samples.get(contestant)
        return statistics.median(values) if values else None

    def ratio(self, contestant: str) -> float | None:
        """How many times better the project is than `contestant`; below 1 it is worse."""
        own, other = self.median(PROJECT), self.median(contestant)
        if not own or not other:
            return None
        return own / other if self.more_is_better else other / own

    def as_document(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "more_is_better": self.more_is_better,
            "goal": self.goal,
            "reached": self.reached,
            "contestants": {
                name: {
                    "median": statistics.median(values),
                    "min": min(values),
                    "max": max(values),
                    "ratio": self.ratio(name),
                    "samples": values,
                }
                for name, values in self.samples.items()
            },
        }


@dataclass
class Table:
    """Figures that belong together, with their contestants in the order of the columns."""

    title: str
    contestants: Sequence[str]
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, unit: str, *, more_is_better: bool = False) -> Figure:
        """The figure of this name, made when it is first asked for."""
        return self.figures.setdefault(name, Figure(name, unit, more_is_better))

    def goal(self, name: str, text: str, limit: float | None) -> None:
        """Set the target of a figure: the project's median is to be at most `limit`, or at least if more is better."""
        figure = self.figures.get(name)
        own = figure.median(PROJECT) if figure is not None else None
        if figure is None or own is None or limit is None:
            return
        figure.goal = text
        figure.reached = own >= limit if figure.more_is_better else own <= limit


class Results:
    """All tables of a run, in the order in which they were made."""

    def __init__(self) -> None:
        self.tables: list[Table] = []

    def table(self, title: str, contestants: Sequence[str]) -> Table:
        table = Table(title, contestants)
        self.tables.append(table)
        return table

    def as_json(self, machine: Mapping[str, str]) -> str:
        tables = [
            {
                "title": table.title,
                "notes": table.notes,
                "figures": [figure.as_document() for figure in table.figures.values()],
            }
            for table in self.tables
        ]
        return json.dumps({"machine": machine, "tables": tables}, indent=1) + "\n"
