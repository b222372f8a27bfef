"""Shared by all tests: run-time shape checks, and where the real events are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

# Shapes and types of annotated arrays are checked while the tests run, and only then.
install_import_hook("systwise", "type_checks.checked")


@pytest.fixture(scope="session", autouse=True)
def shared_compilations() -> None:
    """Let the workers of one run share what they compile, which is most of the time that the tests take."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return
    folder = Path(tempfile.gettempdir()) / f"systwise-tests-{run}"
    folder.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


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
