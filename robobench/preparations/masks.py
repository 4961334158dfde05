"""Masks: where the object of each image is, from mask images or from boxes."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robobench.contracts import Model
from robobench.draws import Draws
from robobench.errors import DataError
from robobench.images import FORMATS, MAX_PIXELS
from robobench.keys import digest
from robobench.preparations.stored import (
    IMAGES,
    Stored,
    contents,
    file_of,
    files_below,
    fitted,
    names_of,
    read_levels,
    stacked,
)
from robobench.registry import preparations
from robobench.types import ImageBatch, View

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, lower: pixels left <= x < right, top <= y < lower
Size = tuple[int, int]  # height, width
_COLUMNS = ("ImageId", "PredictionString")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@preparations.register("file", version=1)
@dataclass(frozen=True, kw_only=True)
class MaskFiles(Stored):
    """Masks from a folder of images, one for each image of the data.

    The mask of image `n01440764/one.JPEG` is `n01440764/one.png`, or any other format; it is of the stored
    image's size. What is above 0 is object: grey levels, palette numbers, any of the three channels of a
    colour image. It goes through the view of the images, resampled to the nearest pixel; a border that
    the view adds is background. Gives `mask`, (n, h, w) float32, 1 on the object and 0 elsewhere. Needs
    no model.

    Raises DataError for a folder that is missing or empty, for an image without a mask, and for a mask
    that cannot be read or has another shape than its image.

    Own: the layout of the files.
    """

    path: str  # the folder; `~` is the home folder

    view: View | None = field(init=False, default=None)
    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"path": "masks"},)

    def revision(self) -> str:
        """Digest of the masks' names and contents."""
        return contents(files_below(self.path, IMAGES, "masks.file"), "masks.file")

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        files = files_below(self.path, IMAGES, "masks.file")
        return {"mask": stacked([self._mask(files, b, image) for b in batches for image in b.ids])}

    def _mask(self, files: Mapping[str, Path], batch: ImageBatch, image: str) -> NDArray[np.float32]:
        file = file_of(files, image, "masks.file", self.path)
        levels = read_levels(file, f"masks.file: {file.name}")
        return fitted(self.seen((levels > 0).astype(np.float32)), batch, image, "masks.file")


@preparations.register("boxes", version=1)
@dataclass(frozen=True, kw_only=True)
class BoxMasks(Stored):
    """Masks from the boxes around objects, as ImageNet's localisation task gives them.

    `path` is a folder of annotations in PASCAL VOC's XML layout, found by the name of the image's file at
    any depth (`one.xml` for `n01440764/one.JPEG`; one at the same place below the folder comes first), or
    a CSV file with the columns `ImageId,PredictionString`, such as LOC_val_solution.csv, whose second one
    holds "class xmin ymin xmax ymax" for each box. The object is the union of all boxes: pixels xmin <= x <
    xmax and ymin <= y < ymax of the stored image, whose size the XML names; for a CSV the size is read
    off the image in the folder `images`. The mask goes through the view of the images, resampled to the
    nearest pixel; a border that the view adds is background, and so is an image without boxes. Gives
    `mask`, (n, h, w) float32, 1 on the object and 0 elsewhere. Needs no model.

    Raises DataError for files that are missing, cannot be read, or do not have this layout, for an image
    without an annotation, for one annotation that would serve two images, and for a size that is not that
    of the images.

    Source: Ghiasi et al., What do Vision Transformers Learn? A Visual Exploration, 2022, as in their code
    (the union of boxes, its right and lower edge left out).
    """

    path: str  # a folder of XML files, or a CSV file; `~` is the home folder
    images: str | None = None  # the folder of the images that a CSV file speaks of

    view: View | None = field(init=False, default=None)
    per_image: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({"path": "boxes"},)

    def revision(self) -> str:
        """Digest of the annotations, and of the sizes of the images where they are read."""
        place = Path(self.path).expanduser()
        if not self._csv:
            return contents(self._annotations(), "masks.boxes")
        sizes = {name: _size_of_image(file) for name, file in self._images().items()}
        return digest([contents({place.name: place}, "masks.boxes"), sorted(sizes.items())])

    def __call__(
        self, model: Model | None, batches: Iterable[ImageBatch], draws: Draws
    ) -> Mapping[str, Tensor]:
        boxes: _Csv | _Xml
        if self._csv:
            boxes = _Csv(self.path, str(self.images), self._images())
        else:
            boxes = _Xml(self.path, self._annotations())
        maps = []
        for batch in batches:
            for image in batch.ids:
                mask = _painted(*boxes(image), f"masks.boxes: image {image!r}")
                maps.append(fitted(self.seen(mask), batch, image, "masks.boxes"))
        return {"mask": stacked(maps)}

    @property
    def _csv(self) -> bool:
        return Path(self.path).suffix.lower() == ".csv"

    def _annotations(self) -> dict[str, Path]:
        return files_below(self.path, (".xml",), "masks.boxes")

    def _images(self) -> dict[str, Path]:
        if self.images is None:
            raise DataError(
                "masks.boxes: a CSV file does not say how large the images are: give their folder as `images`"
            )
        return files_below(self.images, IMAGES, "masks.boxes: images")


class _ByStem:
    """Finds what belongs to an image by the name of its file, and never the same for two images."""

    def __init__(self, names: Iterable[str], path: str, kind: str) -> None:
        self._stems: dict[str, list[str]] = {}
        for name in names:
            self._stems.setdefault(Path(name).name, []).append(name)
        self._path, self._kind = path, kind
        self._served: dict[str, str] = {}

    def __call__(self, image: str) -> str:
        wanted = names_of(image)
        found = [n for name in dict.fromkeys(Path(w).name for w in wanted) for n in self._stems.get(name, [])]
        found = [n for n in found if n in wanted][:1] or found
        where = f"masks.boxes: {self._path!r}"
        if len(found) != 1:
            got = "none" if not found else ", ".join(found[:3])
            raise DataError(
                f"{where}: expected one {self._kind} called {Path(wanted[1]).name!r} for image {image!r}, "
                f"got {got}"
            )
        other = self._served.setdefault(found[0], image)
        if other != image:
            raise DataError(
                f"{where}: the {self._kind} {found[0]!r} would serve both {other!r} and {image!r}"
            )
        return found[0]


class _Xml:
    """Size and boxes of each image from XML files in PASCAL VOC's layout."""

    def __init__(self, path: str, files: Mapping[str, Path]) -> None:
        self._files, self._find = files, _ByStem(files, path, "annotation")

    def __call__(self, image: str) -> tuple[Size, list[Box]]:
        file = self._files[self._find(image)]
        where = f"masks.boxes: {file.name}"
        root = _parsed(file, where)
        height, width = (
            _whole(root.findtext(f"size/{n}"), f"{where}: size/{n}") for n in ("height", "width")
        )
        return (height, width), [
            _box([_whole(box.findtext(n), f"{where}: bndbox/{n}") for n in _CORNERS])
            for box in root.findall("object/bndbox")
        ]


class _Csv:
    """Boxes of each image from a table, and its size from the image itself."""

    def __init__(self, path: str, folder: str, images: Mapping[str, Path]) -> None:
        self._images, self._rows = images, _table(path)
        self._where = f"masks.boxes: {Path(path).name}"
        self._find = _ByStem(self._rows, path, "row")
        self._find_image = _ByStem(images, folder, "image")

    def __call__(self, image: str) -> tuple[Size, list[Box]]:
        row = self._find(image)
        words = self._rows[row].split()
        if len(words) % 5:
            raise DataError(
                f"{self._where}: {row}: expected a class and four corners for each box, "
                f"got {len(words)} words"
            )
        corners = [_whole(word, f"{self._where}: {row}") for i, word in enumerate(words) if i % 5]
        boxes = [_box(corners[i : i + 4]) for i in range(0, len(corners), 4)]
        return _size_of_image(self._images[self._find_image(image)]), boxes


def _box(corners: list[int]) -> Box:
    left, top, right, lower = corners
    return left, top, right, lower


def _painted(size: Size, boxes: Iterable[Box], where: str) -> NDArray[np.float32]:
    """1 inside any of the boxes, (h, w)."""
    height, width = size
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DataError(f"{where}: expected the size of an image, got {width} x {height} pixels")
    mask = np.zeros(size, np.float32)
    for left, top, right, lower in boxes:
        mask[max(top, 0) : max(lower, 0), max(left, 0) : max(right, 0)] = 1
    return mask


def _parsed(file: Path, where: str) -> ET.Element:
    """The root of an XML file that declares nothing of its own, such as entities that grow without end."""
    try:
        text = file.read_bytes().decode("utf-8")
        if "<!DOCTYPE" in text:
            raise DataError(f"{where}: holds a document type declaration, which annotations do not need")
        return ET.fromstring(text)  # noqa: S314 (entities need a declaration)
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, ET.ParseError) as error:
        raise DataError(f"{where}: is not XML: {error}") from error


def _table(path: str) -> dict[str, str]:
    """The boxes as text by image, from a CSV file."""
    where = f"masks.boxes: {path!r}"
    rows: dict[str, str] = {}
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(_COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{where}: expected the columns {', '.join(_COLUMNS)}, got {reader.fieldnames}"
                )
            for row in reader:
                name, boxes = (row[c] or "" for c in _COLUMNS)
                if name in rows:
                    raise DataError(f"{where}: image {name!r} has two rows")
                rows[name] = boxes
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: is not a CSV file: {error}") from error
    return rows


def _whole(text: str | None, where: str) -> int:
    """A coordinate, the fraction of a pixel cut off."""
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError):
        raise DataError(f"{where}: expected a number of pixels, got {text!r}") from None


def _size_of_image(file: Path) -> Size:
    """Height and width from an image's header."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        with Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN]) as image:
            return image.height, image.width
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"masks.boxes: images: {file.name}: its size cannot be read: {error}") from error
