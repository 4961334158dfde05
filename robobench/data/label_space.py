"""Label spaces: the names of classes, the model outputs behind them, and the folders that hold them.

ImageNet's class order, WordNet ids and names, and the 200 classes of ImageNet-A and ImageNet-R, come
from the lists that timm carries; timm itself is not imported. A space called `<name>-full` asks for the same
images without narrowing the answers: all 1,000 outputs may be given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from robobench.data import mappings
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
IMAGENET_O = "imagenet-o"  # its images are outliers: the classes are those they were chosen against
_TIMM: Mapping[str, str] = {"imagenet-a": "imagenet_a", "imagenet-r": "imagenet_r"}  # timm's file names
_PARTS = (*_TIMM, IMAGENET_O)  # some classes of ImageNet, one output each
_OBJECTNET, _ENTRY_LEVEL, _IMAGENET_9 = "objectnet", "imagenet-16", "imagenet-9"
_FULL = "-full"
_WHOLE = tuple(f"{name}{_FULL}" for name in (*_TIMM, _OBJECTNET))

_TWIN = re.compile(r" \(n\d{8}\)$")  # what tells apart two classes of one name

LABEL_SPACES = tuple(sorted((IMAGENET, *_LISTED, *_PARTS, *_WHOLE, _OBJECTNET, _ENTRY_LEVEL, _IMAGENET_9)))


@cache
def label_space(name: str) -> LabelSpace:
    """A label space by name.

    `imagenet-1k` has the 1,000 classes of ILSVRC 2012 in the order of their WordNet ids, which is the
    order of the models' outputs. `imagenet-a` (Hendrycks et al., 2021a), `imagenet-r` (Hendrycks et
    al., 2021b) and `imagenet-o` (as -a) are 200 of them each: a model gives 1,000 outputs, of which 200
    are answers. Behind each of the 113 classes of `objectnet` (Barbu et al., 2019) stand one to three
    outputs, of which the largest counts; behind the 16 of `imagenet-16` (Geirhos et al., 2019) their mean
    probability; `imagenet-9` (Xiao et al., 2020) has nine classes and a tenth for every other output.
    `imagenet-a-full`, `imagenet-r-full` and `objectnet-full` leave all outputs in the running; their
    `within` says which classes occur. `digits`, `cifar-10` and `cifar-100` have one output per class.
    Raises UnknownName; `own` is `own_space`.
    """
    if name in _LISTED:
        return LabelSpace(name, _LISTED[name], outputs=len(_LISTED[name]))
    if name == IMAGENET:
        names = _imagenet_names()
        return LabelSpace(name, names, outputs=len(names))
    if name in _PARTS:
        return _grouped(name, {str(m): (m,) for m in _members(name)}, own_names=False)
    if name.removesuffix(_FULL) in _TIMM:
        members = _members(name.removesuffix(_FULL))
        return replace(label_space(IMAGENET), name=name, parent=IMAGENET, within=members)
    if name in (_OBJECTNET, f"{_OBJECTNET}{_FULL}"):
        return _grouped(name, mappings.objectnet(), others="each" if name.endswith(_FULL) else "none")
    if name == _IMAGENET_9:
        return _grouped(name, mappings.imagenet_9(), others="one")
    if name == _ENTRY_LEVEL:
        return _grouped(name, mappings.entry_level(), reduce="mean")
    raise UnknownName(f"unknown label space {name!r}; {nearest(name, (*LABEL_SPACES, OWN))}")


def _grouped(
    name: str,
    groups: Mapping[str, tuple[int, ...]],
    *,
    reduce: Literal["max", "mean"] = "max",
    others: Literal["none", "one", "each"] = "none",
    own_names: bool = True,
) -> LabelSpace:
    """Classes of which ImageNet's outputs are parts. others: what becomes of outputs that are in none."""
    whole = label_space(IMAGENET)
    taken = {output for group in groups.values() for output in group}
    left = tuple(n for n in range(whole.outputs) if n not in taken)
    more = {"none": (), "one": (left,), "each": tuple((n,) for n in left)}[others]
    names = tuple(groups) if own_names else tuple(whole.classes[g[0]] for g in groups.values())
    rest = tuple(whole.classes[g[0]] if others == "each" else "none of these" for g in more)
    return LabelSpace(
        name,
        (*names, *rest),
        outputs=whole.outputs,
        groups=(*groups.values(), *more),
        reduce=reduce,
        parent=IMAGENET,
        within=tuple(range(len(groups))) if more else None,
    )


@cache
def _members(name: str) -> tuple[int, ...]:
    """The classes of ImageNet that a part of it has."""
    if name == IMAGENET_O:
        places = {synset: n for n, synset in enumerate(wordnet_ids())}
        return tuple(places[synset] for synset in mappings.imagenet_o())
    return tuple(int(line) for line in _lines(f"{_TIMM[name]}_indices.txt"))


def check_space(name: str, *, outliers: bool = False) -> None:
    """Raise ValueError, with the nearest name, for a label space that does not exist.

    So it does for one whose images are outliers, unless they are to be read as such.
    """
    known = (*LABEL_SPACES, OWN)
    if name not in known:
        raise ValueError(f"label_space: unknown label space {name!r}; {nearest(name, known)}")
    if name == IMAGENET_O and not outliers:
        raise ValueError(
            f"label_space: no class is right for the images of {name}: use the source imagenet_o, or the "
            "source hub with outliers=true"
        )


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

    ImageNet: WordNet ids and class numbers. Parts of it: WordNet ids alone, because a number could count
    within the 200 or within the 1,000. ObjectNet and ImageNet-9: the names of the published folders.
    Others: class names and class numbers.
    """
    if name.startswith(_OBJECTNET):
        return {folder: n for n, folder in enumerate(mappings.objectnet())}
    if name == _IMAGENET_9:
        return {f"{n:02d}_{c.replace('_', ' ')}": n for n, c in enumerate(mappings.imagenet_9())}
    if name.removesuffix(_FULL) in _PARTS:
        members = _members(name.removesuffix(_FULL))
        return {wordnet_ids()[m]: m if name.endswith(_FULL) else n for n, m in enumerate(members)}
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
    first = next(iter(class_folders(name)))
    if name.removesuffix(_FULL) in _PARTS:
        return f"WordNet ids such as {first} (class numbers are ambiguous here)"
    if name.startswith((_OBJECTNET, _IMAGENET_9)):
        return f"the published folder names such as {first!r}"
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
