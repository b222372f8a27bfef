"""Shared by all tests: run-time shape checks, what is compiled and how, and where the real events are."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# Nearly everything is compiled for a few calls: the older emitters make code in two thirds of the time, and two
# workers leave no processor for parallel code generation. An unknown flag is fatal, so only where these are known.
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")

# Nothing of a test run belongs into the user's own cache.
os.environ.setdefault("SYSTWISE_COMPILED", "off")

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have most slow tests, so that no worker is left with a long one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def forget_compilations() -> Iterator[None]:
    """Let go of what a file's tests compiled: a process that keeps thousands of programs crashes in the compiler."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what a command line writes out of the user's cache, and its answer to signals out of other tests."""
    monkeypatch.setenv("SYSTWISE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
