"""Compiled functions kept on disk, so that only the first run of a kind compiles."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def keep_compiled() -> None:
    """Let JAX keep what it compiles in the cache folder (`SYSTWISE_CACHE`, else the user's own)."""
    import jax
    import pooch

    folder = os.environ.get("SYSTWISE_CACHE") or str(pooch.os_cache("systwise"))
    with contextlib.suppress(OSError):  # a read-only home is no reason to fail: it only compiles again
        path = Path(folder) / "compiled"
        path.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
