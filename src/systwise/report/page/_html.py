"""The report as one HTML file that needs nothing else: style and figures are inside."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from systwise.report.tables._coverage import Judged, judged_toys
from systwise.report.tables._inference import anatomies
from systwise.report.tables._rows import TruePoint, observed_rows, places, pois, true_points
from systwise.report.tables._significance import TREATMENTS, significance_sections, words_of_point
from systwise.report.tables._table import ratio, sections
from systwise.report.text._glossary import glossary
from systwise.report.text._headline import caveats, headline, second_minima
from systwise.report.text._numbers import significant, with_error
from systwise.report.text._significance import region_sentences, significance_sentences
from systwise.report.text._words import simulation_words
from systwise.study import Results


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure that was written.

    Attributes:
        name: of the files, without ending.
        title: short.
        caption: what it shows and what to see in it.
        png: the file.
    """

    name: str
    title: str
    caption: str
    png: Path

    @property
    def data(self) -> str:
        """The PNG in base64."""
        return base64.b64encode(self.png.read_bytes()).decode("ascii")


def seconds(value: float | None) -> str:
    """Return a time span as a person says it.

    >>> seconds(0.0421), seconds(42.1), seconds(754.0)
    ('0.04 s', '42.1 s', '12 min 34 s')
    """
    if value is None:
        return "–"
    if value >= 120:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min {rest} s"
    return f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def _timings(results: Results) -> list[tuple[str, str]]:
    times = results.timings
    rows = [("generate", times.generate)]
    rows += [(f"train {name}", value) for name, value in times.train.items()]
    rows += [(f"score {name}", value) for name, value in times.score.items()]
    rows += [
        ("fit", times.fit),
        ("impacts and limits", times.inference),
        ("toys", times.toys),
        ("report", times.report),
        ("total", times.total),
    ]
    return [(name, seconds(value)) for name, value in rows if value is not None]


def _toys(results: Results) -> list[tuple[TruePoint, list[Judged]]]:
    """Return the sets of pseudo-experiments by true point."""
    judged = judged_toys(results)
    points = true_points(results, results.toys)
    return [(point, [row for row in judged if point.same(row.record.true)]) for point in points]


def _toy_source(results: Results) -> str:
    """Say where the data of the pseudo-experiments come from."""
    words = {
        "events": "drawn from events that neither trained, calibrated nor built the templates",
        "templates": "drawn from the fitted templates, which tests the fit and not the templates",
    }
    return "".join(f"; {words[source]}" for source in dict.fromkeys(record.source for record in results.toys))


def _conditions(results: Results) -> str:
    """Say what amount of data the significances are for, where the case states it."""
    case = results.settings.get("case") or {}
    if "luminosity" not in case:
        return ""
    said = f"Expected for an integrated luminosity of {significant(case['luminosity'])} fb⁻¹"
    if "efficiency" in case:
        said += f" and a branching fraction times efficiency of {significant(case['efficiency'])}"
    return said + "."


def render(results: Results, drawings: list[Drawing]) -> str:
    """Return the report as HTML text.

    Args:
        results: of the study.
        drawings: figures, in the order in which they are shown.
    """
    bounded = any(record.bound for record in results.asimov)
    failed = any(row.converged < row.seeds or row.sigma.count < row.seeds for row in results.summaries)
    content: dict[str, Any] = {
        "results": results,
        "answers": headline(results),
        "caveats": caveats(results),
        "minima": second_minima(results),
        "pois": pois(results),
        "places": places(results),
        "sections": sections,
        "bounded": bounded,
        "failed": failed,
        "width": 5 + bounded + failed,
        "simulation_words": simulation_words(results),
        "significance": significance_sections(results.significances, results.fakes, results.classifiers),
        "significance_words": significance_sentences(results),
        "reference": words_of_point(results.regions[0].point) if results.regions else "",
        "treatment_words": TREATMENTS,
        "conditions": " ".join(filter(None, [_conditions(results), *region_sentences(results.regions)])),
        "observed": observed_rows(results),
        "yields": results.yields,
        "words": glossary(results),
        "anatomies": anatomies(results),
        "limit_level": next((100 * r.limit_level for r in results.inferences if r.limit_level), None),
        "toys": _toys(results),
        "toy_source": _toy_source(results),
        "bounded_toys": any(record.bound for record in results.toys),
        "drawings": drawings,
        "settings": json.dumps(results.settings, indent=2, ensure_ascii=False),
        "timings": _timings(results),
        "significant": significant,
        "with_error": with_error,
        "ratio": ratio,
    }
    return fill("report.html.j2", content)


def fill(template: str, content: Mapping[str, Any]) -> str:
    """Return a page from a template of this room, `page.html.j2` around it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(resources.files("systwise.report.page"))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)
