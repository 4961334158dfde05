"""What a results folder knows besides its rows: distances to clean, speeds, pictures, verifications.

Each is a JSON file of its own, written whole. A board can do without any of them, so one that is damaged
counts as one that is not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robobench import speed
from robobench.atomic import disk, place_text
from robobench.errors import StoreError
from robobench.keys import as_file, digest
from robobench.speed import Speed
from robobench.types import Pictures, Yardstick, finite


@dataclass(frozen=True)
class Asides:
    """The side files of a results folder."""

    root: Path

    def put_yardstick(self, key: str, value: Yardstick) -> None:
        """Keep how far a condition is from clean; what is not finite becomes null."""
        content = {"psnr": finite(value.psnr), "ssim": finite(value.ssim), "images": value.images}
        place_text(self.root / "yardsticks" / f"{key}.json", as_file(content))

    def yardstick(self, key: str) -> Yardstick | None:
        """What `put_yardstick` kept, if anything; a damaged file counts as nothing."""
        try:
            found = json.loads((self.root / "yardsticks" / f"{key}.json").read_text())
            ratio = math.inf if found["psnr"] is None else float(found["psnr"])
            return Yardstick(ratio, math.nan if found["ssim"] is None else found["ssim"], found["images"])
        except (OSError, ValueError, OverflowError, RecursionError, KeyError, TypeError):
            return None

    def put_speed(self, model: str, newest: Speed) -> None:
        """Keep how fast a model (its digest) is; the newest of each hardware, precision and batch size."""
        text = speed.to_json(speed.with_newest(self.speeds(model), newest))
        place_text(self._speed_file(model), text)

    def speeds(self, model: str) -> tuple[Speed, ...]:
        """What `put_speed` kept of a model, if anything; a damaged file counts as nothing."""
        try:
            return speed.from_json(self._speed_file(model).read_text(encoding="utf-8"))
        except (OSError, ValueError, OverflowError, RecursionError, StoreError):
            return ()

    def _speed_file(self, model: str) -> Path:
        """A name that leads out of the folder, from a record that anybody may have written, finds nothing."""
        return self.root / "speed" / f"{Path(model).name}.json"

    def put_pictures(self, fingerprint: str, pictures: Pictures | None) -> None:
        """Keep the pictures of a run's most hurt images; None takes those of earlier runs away."""
        path = self._pictures(fingerprint)
        if pictures is None:
            with disk(path):
                path.unlink(missing_ok=True)
            return
        png = [{"image": i, "condition": c, "png": data} for (i, c), data in sorted(pictures.png.items())]
        place_text(path, as_file({"credit": pictures.credit, "pictures": png}))

    def pictures(self, fingerprint: str) -> Pictures | None:
        """What `put_pictures` kept, if anything; a damaged file counts as nothing."""
        try:
            found = json.loads(self._pictures(fingerprint).read_text())
            png = {(str(p["image"]), str(p["condition"])): str(p["png"]) for p in found["pictures"]}
            return Pictures(str(found["credit"]), png)
        except (OSError, ValueError, OverflowError, RecursionError, KeyError, TypeError):
            return None

    def _pictures(self, fingerprint: str) -> Path:
        return self.root / "gallery" / f"{Path(fingerprint).name}.json"

    def put_verified(self, fingerprint: str, model: str, outcome: Mapping[str, Any] | None) -> None:
        """Keep what verifying a model of a run found in place of what is there; None takes that away."""
        path = self._verified(fingerprint, model)
        if outcome is None:
            with disk(path):
                path.unlink(missing_ok=True)
            return
        place_text(path, as_file(outcome))

    def verified(self, fingerprint: str, model: str) -> Any:
        """What `put_verified` kept, as JSON; None without any, and for a damaged file."""
        try:
            return json.loads(self._verified(fingerprint, model).read_text(encoding="utf-8"))
        except (OSError, ValueError, OverflowError, RecursionError):
            return None

    def _verified(self, fingerprint: str, model: str) -> Path:
        return self.root / "verified" / f"{digest(fingerprint, model)}.json"
