"""Compiling is most of what a first fit takes: how it is made quick, and done once only.

Compiled functions are kept on disk, for the command line and for whoever imports the package, unless
`SYSTWISE_COMPILED=off` is set, `keep_compiled(False)` was called, or JAX has a folder of its own already.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path

_chosen = False
"""Whether someone has said what to do."""


def keep_compiled(keep: bool = True) -> None:
    """Let JAX keep what it compiles on disk, so that only the first run of a kind compiles.

    Every compiled function of the process goes there: `SYSTWISE_CACHE`, else the user's cache folder. The first fit
    or training calls this, so that it only needs to be called to decline.

    Args:
        keep: keep them, unless the environment says `SYSTWISE_COMPILED=off` or JAX has a folder already.
    """
    global _chosen
    _chosen = True
    if not keep or os.environ.get("SYSTWISE_COMPILED", "").lower() in ("off", "0", "no"):
        return
    import jax
    import pooch

    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    folder = os.environ.get("SYSTWISE_CACHE") or str(pooch.os_cache("systwise"))
    with contextlib.suppress(OSError):  # a read-only home is no reason to fail: it only compiles again
        path = Path(folder) / "compiled"
        path.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def keep_compiled_unless_declined() -> None:
    """Do as `keep_compiled` does where nobody has said anything yet: called before the first compilation."""
    if not _chosen:
        keep_compiled()


@functools.cache
def quick_options() -> dict[str, bool | int]:
    """Return compiler options for functions that are called a few times each.

    On a CPU, with XLA's older emitters and less optimisation, a first fit takes two thirds of the time, and later ones
    as long as before (`benchmarks/many_nuisances.py`, `benchmarks/toy_fits.py`). Elsewhere there are none.
    """
    import jax

    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, bool | int] = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return {}  # another XLA, which may compile longer
    return options
