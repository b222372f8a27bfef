"""Shared by all tests: run-time shape checks, and where the real events are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shapes and types of annotated arrays are checked while the tests run, and only then.
install_import_hook("systwise", "type_checks.checked")


@pytest.fixture(scope="session")
def higgsml_path() -> Path:
    """Return the file of real HiggsML events, or skip."""
    folder = os.environ.get("SYSTWISE_DATA")
    if not folder:
        pytest.skip("set SYSTWISE_DATA to the folder with higgsml_first22889.parquet to run on real events")
    path = Path(folder) / "higgsml_first22889.parquet"
    if not path.is_file():
        pytest.skip(f"SYSTWISE_DATA holds no {path.name}")
    return path
