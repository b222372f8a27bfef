"""What the rooms show, as a snapshot: a change of the public names is a decision, not an accident.

After such a decision, write the new snapshot with `python tests/test_api.py`.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

ROOMS = ["parameters", "events", "cases", "learn", "templates", "fit", "study", "report", "export"]
SNAPSHOT = Path(__file__).with_name("api.json")


def public_names() -> dict[str, list[str]]:
    return {room: sorted(importlib.import_module(f"systwise.{room}").__all__) for room in ROOMS}


def test_public_names_are_those_of_the_snapshot():
    assert public_names() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_public_name_exists_and_is_documented():
    for room, names in public_names().items():
        module = importlib.import_module(f"systwise.{room}")
        for name in names:
            value = getattr(module, name)
            if callable(value) and getattr(value, "__module__", "").startswith("systwise"):
                assert value.__doc__, f"{room}.{name}"


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(public_names(), indent=1) + "\n", encoding="utf-8")
