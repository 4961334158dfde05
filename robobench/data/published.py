"""What is known of a published set: licence, citation, homepage, and the counts that a copy has to have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robobench.errors import DataError

_NAMED = 5  # missing classes and damaged images that a message names


@dataclass(frozen=True)
class Published:
    """A set as its authors publish it.

    licence: of the images, in the words of their source. images, classes: how many there are; None where
    the authors do not say or contradict one another, and then the number is not checked.
    """

    title: str
    licence: str
    citation: str
    homepage: str
    images: int | None
    classes: int | None

    def facts(self) -> Iterator[tuple[str, str]]:
        """What there is to say of the set, as pairs of a word and a text.

        >>> dict(Published("T", "MIT", "Doe 2020", "https://x.org", 7500, None).facts())["images"]
        '7,500'
        """
        yield from (("set", self.title), ("licence", self.licence), ("citation", self.citation))
        yield "homepage", self.homepage
        for name, count in (("images", self.images), ("classes", self.classes)):
            yield name, f"{count:,}" if count is not None else "not checked"


def check_counts(
    where: str,
    published: Published,
    *,
    images: int,
    classes: int,
    missing: Iterable[str] = (),
    damaged: Iterable[str] = (),
    note: str = "",
) -> None:
    """Raise DataError unless a copy has as many readable images and classes as were published.

    missing: classes without an image. damaged: images that cannot be read. note: what else explains it.

    >>> p = Published("T", "MIT", "Doe 2020", "https://x.org", 4, 2)
    >>> check_counts("t:/x", p, images=4, classes=2)
    >>> check_counts("t:/x", p, images=3, classes=1, missing=["n2"])
    Traceback (most recent call last):
    robobench.errors.DataError: t:/x: 3 readable images, published were 4; 1 class, published were 2; \
without images: n2; unpack the archive again, or set partial=true, which the title then says
    """
    said = []
    if published.images not in (None, images):
        said.append(f"{images:,} readable images, published were {published.images:,}")
    if published.classes not in (None, classes):
        noun = "class" if classes == 1 else "classes"
        said.append(f"{classes:,} {noun}, published were {published.classes:,}")
    if not said:
        return
    said += [
        f"{word}: {_some(names)}"
        for word, names in (("without images", [*missing]), ("damaged", [*damaged]))
        if names
    ]
    said += [note] if note else []
    advice = "unpack the archive again, or set partial=true, which the title then says"
    raise DataError(f"{where}: {'; '.join(said)}; {advice}")


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
