"""Write docs/gallery.md and its pictures: every perturbation on a sample photo, by file stem."""

from __future__ import annotations

import io
import json
import shutil
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

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

Every perturbation on a photo that comes with scikit-learn (flower.jpg, flickr.com/photos/vultilion, CC BY
2.0; where another image takes part, china.jpg, flickr.com/photos/danielbuechele, CC BY 2.0), at its five
severities or with its examples; where a mask is needed it is an ellipse. Below each picture stand its PSNR
in dB and its SSIM to the clean one. `robobench preview NAME` makes the same for your own images, and
`robobench preview SUITE` for a whole suite, with sliders. [plugins.md](plugins.md) has the parameters and
sources.
"""


WEATHER = ["corruption.snow", "corruption.frost", "corruption.fog", "corruption.spatter"]  # in the README
CLASSES = {"china.jpg": "n03877845", "flower.jpg": "n11939491"}  # palace and daisy, for saliency maps


def main() -> None:
    """One picture and one section for each stem, and the README's picture."""
    with TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        for name, where in CLASSES.items():
            (photos / where).mkdir(parents=True)
            shutil.copy(Path(str(files("sklearn.datasets.images"))) / name, photos / where / name)
            ellipse(photos / where / name, Path(folder) / "masks" / where / name)
        write(f"folder:{photos}")


def write(photos: str) -> None:
    """The page and its pictures."""
    stems: dict[str, list[str]] = defaultdict(list)
    for name in perturbations.names():
        if "/" not in name:
            stems[name.partition(".")[0]].append(name)
    folder = DOCS / "gallery"
    folder.mkdir(exist_ok=True)
    parts = [HEAD]
    for stem, names in stems.items():
        shown, missing = pictured(names, photos)
        parts.append(f"## {stem}\n")
        if shown is not None:
            save(shown, folder / f"{stem}.jpg")
            parts.append(f"![{', '.join(names)}](gallery/{stem}.jpg)\n")
        parts.extend(f"`{name}` is not pictured: {why}\n" for name, why in missing)
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")
    weather, _ = pictured(WEATHER, photos)
    if weather is not None:
        save(replace(weather, title="Snow, frost, fog and spatter of ImageNet-C"), DOCS / "weather.jpg")
    print("wrote docs/gallery.md")


def ellipse(photo: Path, mask: Path) -> None:
    """A mask of the photo's size, for what keeps or covers a foreground."""
    from PIL import Image, ImageDraw

    width, height = Image.open(photo).size
    drawn = Image.new("L", (width, height), 0)
    box = (0.3 * width, 0.2 * height, 0.7 * width, 0.85 * height)
    ImageDraw.Draw(drawn).ellipse(box, fill=255)
    mask.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(mask.with_suffix(".png"))


def save(shown: Preview, path: Path) -> None:
    """A contact sheet as JPEG."""
    from PIL import Image

    sheet = Image.open(io.BytesIO(contact_sheet(shown, TILE))).convert("RGB")
    sheet.save(path, quality=85, optimize=True)


def pictured(names: list[str], photos: str) -> tuple[Preview | None, list[tuple[str, str]]]:
    """The strips of some perturbations under one title, and what cannot be pictured."""
    strips: list[Strip] = []
    missing: list[tuple[str, str]] = []
    whole = None
    for name in names:
        try:
            whole = one(name, photos)
        except RobobenchError as error:
            missing.append((name, str(error)))
        else:
            strips.extend(whole.strips)
    if whole is None:
        return None, missing
    stem = names[0].partition(".")[0]
    return Preview(stem, whole.images, whole.clean, tuple(strips)), missing


def one(name: str, photos: str) -> Preview:
    """A perturbation at 224 pixels; one that has severities for CIFAR alone, with those."""
    cls = perturbations.get(name).cls
    if "mask" in getattr(perturbations.build(name, cls.examples[0]), "wants", ()):
        return with_masks(name, photos)
    tables = {example.get("table") for example in cls.examples}
    settings = {"table": "cifar"} if tables == {"cifar"} else {}
    return preview(name, images=1, data=photos, model=MODEL, settings=settings)


def with_masks(name: str, photos: str) -> Preview:
    """A perturbation of a foreground: a suite that reads the ellipses."""
    root = Path(photos.removeprefix("folder:")).parent
    suite = {
        "schema": 1,
        "name": "masked",
        "title": name,
        "data": {"source": "folder", "path": str(root / "photos")},
        "view": {"resize": 256, "crop": 224},
        "preparations": {"mask": {"use": "masks.file", "with": {"path": str(root / "masks")}}},
        "conditions": [
            {"use": name, "name": f"{name} {i}", "with": dict(example), "inputs": {"mask": "mask"}}
            for i, example in enumerate(perturbations.get(name).cls.examples, start=1)
        ],
    }
    file = root / "masked.yaml"
    file.write_text(json.dumps(suite), encoding="utf-8")  # JSON is YAML
    return preview(str(file), images=1)


if __name__ == "__main__":
    main()
