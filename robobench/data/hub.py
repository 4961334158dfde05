"""Image sets of the Hugging Face Hub, at one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robobench.data.digests import content_digests
from robobench.data.label_space import LABEL_SPACES, OWN, check_space, label_space, match_names
from robobench.data.light import Light
from robobench.data.outliers import as_outliers
from robobench.errors import DataError, nearest
from robobench.images import decode
from robobench.keys import digest
from robobench.registry import data
from robobench.types import DataIndex, LabelSpace

_LOCAL = ("/", "./", "../", "~")
_CARD = ("README.md", ".huggingface.yaml")  # where a repository says how it is to be read
_MOVING = ("", "main", "master", "HEAD")
_TIMEOUT = 10  # seconds for the one question whether the hub is there


@data.register(version=1)
@dataclass(frozen=True, kw_only=True)
class Hub(Light):
    """An image classification set of the Hugging Face Hub, or a clone of one.

    path: `owner/name`; or the folder of a clone, written with a leading `/`, `./`, `../` or `~`.
    revision: the commit (or tag) to read, because a branch changes under a published number. A clone
    has none: its files are what they are. split: such as `test` or `validation`, without a slice.
    config: the configuration, where the set has several. image, label: the columns. files: a pattern
    of the repository's files to fetch and read for this split, such as `data/validation-*`; without
    it all files are fetched, which for ImageNet means the training set too.
    label_space: `own` (default; one model output per class of the label column, in its order) or a
    known one, to which the names of the label column are then matched, be they class names, the names
    of the published folders or WordNet ids: `hub:axiong/imagenet-r?revision=...&split=test&label=wnid&`
    `label_space=imagenet-r` reads ImageNet-R as the source `imagenet_r` does. Where the column holds lists,
    every class in a list is right. outliers: no class is right for any image, as in ImageNet-O; the
    label column is then not looked at.

    Files are kept in the Hub's own cache ($HF_HOME), so that a second run works offline. The index's
    revision digests the content of the split's files. Ids are `<split>-<row>`.

    Raises DataError when the set, revision, configuration, split or column does not exist, when labels
    are missing or do not fit, and at once when the Hub cannot be reached and the cache has no copy.
    """

    path: str
    split: str
    revision: str = ""
    config: str = ""
    image: str = "image"
    label: str = "label"
    files: str = ""
    label_space: str = OWN
    outliers: bool = False

    def __post_init__(self) -> None:
        if self._local and self.revision:
            raise ValueError("revision: a clone has no revision to choose; check it out and leave this away")
        if not self._local and self.revision in _MOVING:
            raise ValueError(
                f"revision: {self.revision or 'missing'}; a set on the Hub changes, so name the commit (or "
                f"tag) that the numbers belong to: see https://huggingface.co/datasets/{self.path}/commits/main"
            )
        if not self._local and self.path.count("/") != 1:
            raise ValueError(f"path: expected owner/name, or a folder such as ./name, got {self.path!r}")
        if not self.split or any(c in self.split for c in "[]+%:/"):
            raise ValueError(f"split: expected a plain name such as test, got {self.split!r}; use limit")
        check_space(self.label_space, outliers=self.outliers)
        if self.outliers and self.label_space == OWN:
            raise ValueError("label_space: outliers have no classes of their own; name that of the base data")

    def index(self) -> DataIndex:
        """Rows of the split in their own order. Fetches the files when the cache lacks them."""
        return self._index

    def read(self, image: str) -> NDArray[np.uint8]:
        """One image, (h, w, 3) uint8. Raises DataError for an unknown id or a damaged image."""
        split, _, row = image.rpartition("-")
        table = self._opened[0]
        if split != self.split or not row.isdigit() or int(row) >= len(table):
            raise DataError(
                f"{self._where}: no image {image!r}; expected {self.split}-000000 to "
                f"{self.split}-{len(table) - 1:06d}"
            )
        stored = table[int(row)][self.image] or {}
        source = stored.get("bytes") or (Path(stored["path"]) if stored.get("path") else b"")
        return decode(source, f"{self._where}: {image}")

    @property
    def _local(self) -> bool:
        return self.path.startswith(_LOCAL)

    @property
    def _where(self) -> str:
        return f"hub:{Path(self.path).name if self._local else self.path}"

    @cached_property
    def _index(self) -> DataIndex:
        table, content = self._opened
        ids = tuple(f"{self.split}-{n:06d}" for n in range(len(table)))
        if self.outliers:
            revision = digest("hub", self.config, self.split, self.image, content)
            space = label_space(self.label_space)
            return as_outliers(DataIndex(ids, (0,) * len(ids), revision, space))
        feature, values = table.features[self.label], list(table.with_format(None)[self.label])
        several = [tuple(v) if isinstance(v, list) else (v,) for v in values]
        missing = [n for n, v in enumerate(several) if not v or None in v or -1 in v]
        if missing:
            raise DataError(
                f"{self._where}: {len(missing)} of {len(values)} rows of the split {self.split!r} have no "
                "label; choose a split with labels"
            )
        names = getattr(getattr(feature, "feature", feature), "names", None)  # of a column, or of its lists
        space, classes = self._classes(names, [v for some in several for v in some])
        labels = [tuple(dict.fromkeys(classes[v] for v in some)) for some in several]
        return DataIndex(
            ids=ids,
            labels=tuple(some[0] for some in labels),
            revision=digest("hub", self.config, self.split, self.image, self.label, content),
            space=space,
            accepted={i: some for i, some in zip(ids, labels, strict=True) if len(some) > 1},
        )

    def _classes(
        self, names: Sequence[str] | None, values: Sequence[Any]
    ) -> tuple[LabelSpace, Mapping[Any, int]]:
        """The label space, and the class of each value of the label column."""
        if self.label_space == OWN:
            if names is None:
                raise DataError(
                    f"{self._where}: the column {self.label!r} has no class names, so the order of the "
                    f"classes is not known; choose another label column or a label_space: {LABEL_SPACES}"
                )
            space = LabelSpace(OWN, tuple(names), outputs=len(names))
            return space, {n: n for n in range(len(names))}
        found = [str(v) for v in dict.fromkeys(values) if v not in (None, -1)] if names is None else names
        try:
            classes = match_names(self.label_space, found)
        except DataError as error:
            raise DataError(f"{self._where}: {error}") from None
        if names is not None:
            return label_space(self.label_space), dict(enumerate(classes))
        by_text = dict(zip(found, classes, strict=True))
        return label_space(self.label_space), {v: by_text[str(v)] for v in values if str(v) in by_text}

    @cached_property
    def _opened(self) -> tuple[Any, list[str]]:
        """The split's table, images undecoded, and the digests of its files."""
        folder = Path(self.path).expanduser().absolute() if self._local else self._fetch()
        if not folder.is_dir():
            raise DataError(f"{self._where}: no such folder; expected a clone of a data set of the Hub")
        builder = self._builder(folder)
        splits = list(builder.config.data_files or {})
        if self.split not in splits:
            raise DataError(f"{self._where}: no split {self.split!r}; {nearest(self.split, splits)}")
        files = [folder / f for f in builder.config.data_files[self.split]]
        try:
            builder.download_and_prepare()
            table = builder.as_dataset(split=self.split)
        except Exception as error:  # the readers raise whatever their format's library raises
            raise self._unreadable(error) from error
        return self._undecoded(table), _contents(folder, files, self._where)

    def _builder(self, folder: Path) -> Any:
        from datasets import load_dataset_builder

        chosen: dict[str, Any] = {"data_files": {self.split: self.files}} if self.files else {}
        try:
            return load_dataset_builder(str(folder), name=self.config or None, **chosen)
        except Exception as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DataError:
        reason = " ".join(str(error).split())[:400]
        return DataError(f"{self._where}: cannot be read as a data set: {type(error).__name__}: {reason}")

    def _undecoded(self, table: Any) -> Any:
        """The table with its image column as files. Raises DataError for a column that is none."""
        from datasets import Image

        roles = {"image": self.image} if self.outliers else {"image": self.image, "label": self.label}
        for role, column in roles.items():
            if column not in table.column_names:
                known = nearest(column, table.column_names)
                raise DataError(f"{self._where}: no {role} column {column!r}; {known} (set {role}=...)")
        if not isinstance(table.features[self.image], Image):
            images = [n for n, f in table.features.items() if isinstance(f, Image)]
            raise DataError(
                f"{self._where}: the column {self.image!r} holds no images; columns that do: {images}"
            )
        return table.select_columns([*roles.values()]).cast_column(self.image, Image(decode=False))

    def _fetch(self) -> Path:
        """The files of the revision, from the cache where it has them."""
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        wanted: dict[str, Any] = {"repo_id": self.path, "repo_type": "dataset"}
        if self.files:
            wanted["allow_patterns"] = [self.files, *_CARD]
        try:  # asked first and once: a download would try for half a minute before it gave up
            commit = HfApi().dataset_info(self.path, revision=self.revision, timeout=_TIMEOUT).sha
        except RevisionNotFoundError:
            raise DataError(f"{self._where}: the Hub has no revision {self.revision!r} of it") from None
        except RepositoryNotFoundError:
            raise DataError(
                f"{self._where}: the Hub has no such data set, or not for you; check the name, ask for "
                "access on its page, and log in with `hf auth login`"
            ) from None
        except Exception as error:
            return self._cached(wanted, error)
        try:
            return Path(snapshot_download(**wanted, revision=commit))
        except Exception as error:
            raise DataError(
                f"{self._where}: the download broke off: {type(error).__name__}: {error}; run it again, "
                "files that are complete are kept"
            ) from error

    def _cached(self, wanted: Mapping[str, Any], unreachable: Exception) -> Path:
        """The revision's files in the cache. Raises DataError that says why the Hub was not asked."""
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(**wanted, revision=self.revision, local_files_only=True))
        except Exception:
            raise DataError(
                f"{self._where}: the Hub cannot be reached ({type(unreachable).__name__}) and the cache has "
                f"no complete copy of revision {self.revision}; connect, or run `hf download {self.path} "
                f"--repo-type dataset --revision {self.revision}` where there is a connection and copy "
                "$HF_HOME, or give the path of a clone (hub:./name)"
            ) from unreachable


def _contents(folder: Path, files: Sequence[Path], where: str) -> list[str]:
    """The content digest of each file, in the order in which the rows come from them."""
    stamps = {str(f): (s.st_size, s.st_mtime_ns) for f in files for s in [f.stat()]}
    found, failed = content_digests(folder, stamps)
    if failed:
        name, why = min(failed.items())
        raise DataError(f"{where}: {Path(name).name} cannot be read: {why}")
    return [found[str(f)] for f in files]
