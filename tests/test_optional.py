"""Packages that are extras: the sentence that misses one names an extra that brings it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from systwise.errors import ConfigError
from systwise.optional import EXTRAS, optional_module, remedy

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_package_is_one_sentence_with_the_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as error:
        optional_module(name, "reading these files")
    assert str(error.value) == (f"reading these files needs the package '{name}'; pip install '.[{EXTRAS[name]}]'")


@pytest.mark.parametrize("name", EXTRAS)
def test_the_extra_brings_the_package(name):
    wanted = PROJECT["optional-dependencies"][EXTRAS[name]]
    assert DISTRIBUTIONS.get(name, name) in [re.split(r"[^\w-]", line)[0] for line in wanted]


def test_packages_of_nobody_are_left_to_the_user():
    assert remedy("mine.models") == "install it, or run where it can be imported"


def test_optional_packages_are_imported_where_they_are_needed_only():
    """Every import of an extra goes through `optional_module`, or stands where its absence is said."""
    pattern = re.compile(rf"^(?:from|import) ({'|'.join(EXTRAS)})\b", re.MULTILINE)
    source = Path(__file__).parents[1] / "src/systwise"
    found = {path.name for path in source.rglob("*.py") if pattern.search(path.read_text(encoding="utf-8"))}
    assert not found
