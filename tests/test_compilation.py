"""What is compiled is kept for the next process, unless someone declines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from systwise import compilation

FIT = """
import sys
import jax, numpy as np
{before}
from systwise.fit import Model, asimov, fit
from systwise.parameters import signal_strength
model = Model.from_templates(signal_strength(), (), (), np.array([[10.0], [50.0]]))
print(round(fit(model, asimov(model, 1.0, ())).estimate, 6), jax.config.jax_compilation_cache_dir)
"""


def run(folder: Path, before: str = "", **environment: str) -> str:
    cleared = {key: value for key, value in os.environ.items() if not key.startswith("SYSTWISE_")}
    script = FIT.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**cleared, "SYSTWISE_CACHE": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_library_user_keeps_what_was_compiled(tmp_path: Path) -> None:
    assert run(tmp_path) == f"1.0 {tmp_path / 'compiled'}"
    kept = sorted(path.name for path in (tmp_path / "compiled").iterdir() if not path.name.endswith("atime"))
    assert any("over" in name for name in kept)
    # The next process compiles nothing.
    run(tmp_path)
    assert sorted(p.name for p in (tmp_path / "compiled").iterdir() if not p.name.endswith("atime")) == kept


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {"SYSTWISE_COMPILED": "off"}),
        ("from systwise.compilation import keep_compiled; keep_compiled(False)", {}),
    ],
)
def test_it_can_be_declined(tmp_path: Path, before: str, environment: dict[str, str]) -> None:
    assert run(tmp_path, before, **environment) == "1.0 None"
    assert not (tmp_path / "compiled").exists()


def test_a_folder_of_ones_own_stays(tmp_path: Path) -> None:
    own = f"jax.config.update('jax_compilation_cache_dir', {str(tmp_path / 'own')!r})"
    assert run(tmp_path, own) == f"1.0 {tmp_path / 'own'}"
    assert not (tmp_path / "compiled").exists()


def test_an_unknown_compiler_option_costs_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option: 'x'")

    compilation.quick_options.cache_clear()
    monkeypatch.setattr(jax, "jit", refuse)
    assert compilation.quick_options() == {}
    compilation.quick_options.cache_clear()
    monkeypatch.undo()
    assert compilation.quick_options()["xla_backend_optimization_level"] == 1
