"""Label spaces: the names of classes, the model outputs behind them, and the folders that hold them.

ImageNet's class order, WordNet ids and names, and the 200 classes of ImageNet-A and ImageNet-R, come
from the lists that timm carries; timm itself is not imported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from robobench.data.installed import installed_folder
from robobench.errors import DataError, UnknownName, nearest
from robobench.types import LabelSpace

IMAGENET = "imagenet-1k"
OWN = "own"

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
plain plate poppy porcupine possum rabbit raccoon ray road rocket
rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_LISTED: Mapping[str, tuple[str, ...]] = {
    "digits": tuple("0123456789"),
    "cifar-10": tuple(_CIFAR10.split()),
    "cifar-100": tuple(_CIFAR100.split()),
}
_PARTS: Mapping[str, str] = {"imagenet-a": "imagenet_a", "imagenet-r": "imagenet_r"}  # timm's file names

_TWIN = re.compile(r" \(n\d{8}\)$")  # what tells apart two classes of one name

LABEL_SPACES = tuple(sorted((IMAGENET, *_LISTED, *_PARTS)))


@cache
def label_space(name: str) -> LabelSpace:
    """A label space by name.

    `imagenet-1k` has the 1,000 classes of ILSVRC 2012 in the order of their WordNet ids, which is the
    order of the models' outputs. `imagenet-a` (Hendrycks et al., 2021a) and `imagenet-r` (Hendrycks et
    al., 2021b) are 200 of them each: a model gives 1,000 outputs, of which 200 are answers. `digits`,
    `cifar-10` and `cifar-100` have one output per class. Raises UnknownName; `own` is `own_space`.
    """
    if name in _LISTED:
        return LabelSpace(name, _LISTED[name], outputs=len(_LISTED[name]))
    if name == IMAGENET:
        names = _imagenet_names()
        return LabelSpace(name, names, outputs=len(names))
    if name in _PARTS:
        whole = label_space(IMAGENET)
        members = _part(_PARTS[name])
        return LabelSpace(
            name,
            tuple(whole.classes[m] for m in members),
            outputs=whole.outputs,
            groups=tuple((m,) for m in members),
            parent=IMAGENET,
        )
    raise UnknownName(f"unknown label space {name!r}; {nearest(name, (*LABEL_SPACES, OWN))}")


def check_space(name: str) -> None:
    """Raise ValueError, with the nearest name, for a label space that does not exist."""
    known = (*LABEL_SPACES, OWN)
    if name not in known:
        raise ValueError(f"label_space: unknown label space {name!r}; {nearest(name, known)}")


def own_space(folders: Iterable[str]) -> LabelSpace:
    """A label space made of folder names: one class and one model output each.

    Class i is the i-th name in alphabetical order; where all names are whole numbers, in the order of
    the numbers ("2" before "10").
    """
    names = list(folders)
    numbers = all(_is_number(n) for n in names)
    ordered = sorted(names, key=lambda n: (int(n), n)) if numbers else sorted(names)
    return LabelSpace(OWN, tuple(ordered), outputs=len(ordered))


def imagenet_folders() -> Mapping[str, int]:
    """Class indices of ImageNet by folder name: WordNet ids, and the numbers "0" to "999"."""
    return class_folders(IMAGENET)


@cache
def class_folders(name: str) -> Mapping[str, int]:
    """Which folder names stand for which class of a label space.

    ImageNet: WordNet ids and class numbers. ImageNet-A and -R: WordNet ids alone, because a number
    could count within the 200 or within the 1,000. Others: class names and class numbers.
    """
    if name in _PARTS:
        synsets = wordnet_ids()
        return {synsets[m]: n for n, m in enumerate(_part(_PARTS[name]))}
    classes = wordnet_ids() if name == IMAGENET else label_space(name).classes
    return {**{str(n): n for n in range(len(classes))}, **{c: n for n, c in enumerate(classes)}}


def match_folders(name: str, folders: Sequence[str]) -> Mapping[str, int]:
    """The class of each folder name. Numbers may have leading zeros.

    Raises DataError, worded to follow "<where>: ", when one stands for no class, two stand for the
    same, or numbers are mixed with names.
    """
    known = class_folders(name)
    numbers = {f: str(int(f)) if _is_number(f) else f for f in folders}
    unknown = [f for f in folders if numbers[f] not in known]
    advice = f"expected {_folder_words(name)}; for classes of your own use label_space={OWN}"
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(folders)} folders name no class of {name}: {_some(unknown)}; {advice}"
        )
    if len({_is_number(f) for f in folders}) > 1:
        mixed = _some(sorted(folders, key=_is_number, reverse=True)[:1] + sorted(folders, key=_is_number)[:1])
        raise DataError(f"class numbers and class names are mixed ({mixed}); {advice}")
    classes = {f: known[numbers[f]] for f in folders}
    taken: dict[int, str] = {}
    for folder, number in classes.items():
        if number in taken:
            raise DataError(f"the folders {taken[number]} and {folder} stand for the same class; {advice}")
        taken[number] = folder
    return classes


def match_names(name: str, labels: Sequence[str]) -> tuple[int, ...]:
    """The class of each name of a label column, in the column's order.

    Names may be what folders may be called, or the classes' own names. Where two classes share a name
    (ImageNet's cranes), its place decides between the two. Raises DataError, worded to follow "<where>: ".
    """
    known = class_folders(name)
    if all(n in known for n in labels):
        return tuple(known[n] for n in labels)
    plain = [_TWIN.sub("", c) for c in label_space(name).classes]
    places: dict[str, list[int]] = {}
    for number, text in enumerate(plain):
        places.setdefault(text, []).append(number)
    found = [_place(n, i, plain, places) for i, n in enumerate(labels)]
    unknown = [n for n, c in zip(labels, found, strict=True) if c is None]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(labels)} class names are not in {name}: {_some(unknown)}; expected the "
            f"classes' names or {_folder_words(name)}; for classes of its own use label_space={OWN}"
        )
    return tuple(c for c in found if c is not None)


def _place(label: str, position: int, plain: Sequence[str], places: Mapping[str, list[int]]) -> int | None:
    same = places.get(label, [])
    if len(same) == 1:
        return same[0]
    twin = plain[position] if position < len(plain) else ""
    return position if len(places.get(twin, [])) > 1 and label.startswith(twin) else None


def _folder_words(name: str) -> str:
    """What the folders of a label space are called, for messages."""
    first = "WordNet ids such as " + next(iter(class_folders(name)))
    if name in _PARTS:
        return f"{first} (class numbers are ambiguous here)"
    last = len(label_space(name).classes) - 1
    if name == IMAGENET:
        return f"WordNet ids such as {wordnet_ids()[0]} or class numbers 0 to {last}"
    if name == "digits":
        return "class numbers 0 to 9"
    return f"class names such as {label_space(name).classes[0]} or class numbers 0 to {last}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@cache
def wordnet_ids() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet in class order."""
    return tuple(_lines("imagenet_synsets.txt"))


def _part(stem: str) -> tuple[int, ...]:
    return tuple(int(line) for line in _lines(f"{stem}_indices.txt"))


def _imagenet_names() -> tuple[str, ...]:
    """Names as in WordNet; two classes of one name (`crane`) are told apart by their ids."""
    lemmas = dict(line.split("\t", 1) for line in _lines("imagenet_synset_to_lemma.txt"))
    names = [lemmas[s].strip().strip('"') for s in wordnet_ids()]
    often = Counter(names)
    return tuple(n if often[n] == 1 else f"{n} ({s})" for n, s in zip(names, wordnet_ids(), strict=True))


def _lines(name: str) -> list[str]:
    folder = installed_folder("timm")
    path = Path("timm") if folder is None else folder
    path = path / "data" / "_info" / name
    try:
        return path.read_text(encoding="utf-8").strip().splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: ImageNet's class lists come with timm and cannot be read ({error}); "
            "run `pip install 'timm>=1.0.20'`"
        ) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
