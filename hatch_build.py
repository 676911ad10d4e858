"""Put the toy models and the bibliography into wheels; an editable install reads them where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = (".json", ".safetensors", ".md", ".in", ".py", ".csv", ".png")
LEFT_OUT = ("cache", "__pycache__")


class ToyModels(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``toy_models/`` as ``diffnum/_toy_models``, without downloads and checkpoints, and ``_references.bib``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files of a wheel; ``version`` is "editable" for an editable install."""
        if version == "editable":
            return
        root = Path(self.root)
        build_data["force_include"][str(root / "book" / "references.bib")] = "diffnum/_references.bib"
        for path in sorted((root / "toy_models").rglob("*")):
            place = path.relative_to(root / "toy_models")
            if path.is_file() and path.suffix in SHIPPED and not set(LEFT_OUT) & set(place.parts):
                build_data["force_include"][str(path)] = f"diffnum/_toy_models/{place.as_posix()}"
