"""Write docs/gallery.md and its pictures: every perturbation on a sample photo, by file stem."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path

from PIL import Image

from robobench.checks.contact_sheet import contact_sheet
from robobench.checks.preview import Preview, Strip, preview
from robobench.errors import RobobenchError
from robobench.registry import perturbations

DOCS = Path(__file__).parent
MODEL = str(DOCS.parent / "examples" / "efficientnet_lite.py") + ":lite0"  # for saliency maps
TILE = 112
HEAD = """\
# Gallery

<!-- Written by `make gallery`. Do not edit. -->

Every perturbation on one of the sample photos, at its five severities or with its examples. Below each picture stand
its PSNR in dB and its SSIM to the clean one. `robobench preview NAME` makes the same for your own images, and
`robobench preview SUITE` for a whole suite, with sliders. [plugins.md](plugins.md) has the parameters and sources.
"""


def main() -> None:
    """One picture and one section for each stem."""
    stems: dict[str, list[str]] = defaultdict(list)
    for name in perturbations.names():
        if "/" not in name:
            stems[name.partition(".")[0]].append(name)
    folder = DOCS / "gallery"
    folder.mkdir(exist_ok=True)
    parts = [HEAD]
    for stem, names in stems.items():
        shown, missing = pictured(names)
        parts.append(f"## {stem}\n")
        if shown is not None:
            sheet = Image.open(io.BytesIO(contact_sheet(shown, TILE))).convert("RGB")
            sheet.save(folder / f"{stem}.jpg", quality=85, optimize=True)
            parts.append(f"![{', '.join(names)}](gallery/{stem}.jpg)\n")
        parts.extend(f"`{name}` is not pictured: {why}\n" for name, why in missing)
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")
    print("wrote docs/gallery.md")


def pictured(names: list[str]) -> tuple[Preview | None, list[tuple[str, str]]]:
    """The strips of some perturbations under one title, and what cannot be pictured."""
    strips: list[Strip] = []
    missing: list[tuple[str, str]] = []
    whole = None
    for name in names:
        try:
            whole = preview(name, images=1, data="samples:imagenet", model=MODEL)
        except RobobenchError as error:
            why = "it needs a mask for each image" if "'mask'" in str(error) else str(error)
            missing.append((name, why))
        else:
            strips.extend(whole.strips)
    if whole is None:
        return None, missing
    stem = names[0].partition(".")[0]
    return Preview(stem, whole.images, whole.clean, tuple(strips)), missing


if __name__ == "__main__":
    main()
