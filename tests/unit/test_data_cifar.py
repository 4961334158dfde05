"""CIFAR from its binary version, CIFAR-C from its arrays: layout, pairs, revisions, every refusal."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robobench.data import digests
from robobench.data.cifar import Cifar
from robobench.data.cifar_c import CifarC
from robobench.errors import BadParameter, DataError
from robobench.registry import data
from robobench.types import View

SHAPE = (50_000, 32, 32, 3)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOBENCH_CACHE", str(tmp_path / "cache"))


def sparse(path: Path, size: int, start: bytes = b"") -> None:
    """A file of that size that takes no room: zeros behind its start."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


def record(image: NDArray[np.uint8], *labels: int) -> bytes:
    """Written out pixel by pixel: labels, then all red, all green, all blue values, row by row."""
    values = [int(image[y, x, c]) for c in range(3) for y in range(32) for x in range(32)]
    return bytes([*labels, *values])


def images(n: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    root = tmp_path / "ten"
    (root / "cifar-10-batches-bin").mkdir(parents=True)
    for n, name in enumerate(["test_batch", *(f"data_batch_{k}" for k in range(1, 6))]):
        start = b"".join(
            record(
                i,
                9 - k,
            )
            for k, i in enumerate(images(3, seed=n))
        )
        sparse(root / "cifar-10-batches-bin" / f"{name}.bin", 10_000 * 3073, start)
    return root


def test_the_test_split_of_cifar_10(ten: Path) -> None:
    source = Cifar(path=str(ten))
    found = source.index()
    assert len(found.ids) == 10_000
    assert found.ids[:2] == ("test-00000", "test-00001")
    assert found.ids[-1] == "test-09999"
    assert found.labels[:4] == (9, 8, 7, 0)
    assert found.space.name == "cifar-10"
    assert found.view == View()
    np.testing.assert_array_equal(np.stack([source.read(i) for i in found.ids[:3]]), images(3))
    assert not source.read("test-09999").any()
    inner = Cifar(path=str(ten / "cifar-10-batches-bin"))
    assert inner.index() == found


def test_the_train_split_goes_on_from_file_to_file(ten: Path) -> None:
    source = Cifar(path=str(ten), split="train")
    found = source.index()
    assert len(found.ids) == 50_000
    assert found.ids[-1] == "train-49999"
    for file in range(5):
        np.testing.assert_array_equal(source.read(f"train-{10_000 * file + 1:05d}"), images(2, file + 1)[1])
        assert found.labels[10_000 * file + 1] == 8
    assert found.revision != Cifar(path=str(ten)).index().revision


def test_cifar_100_has_its_fine_label_second(tmp_path: Path) -> None:
    sparse(tmp_path / "test.bin", 10_000 * 3074, record(images(1)[0], 19, 99))
    sparse(tmp_path / "train.bin", 50_000 * 3074)
    source = Cifar(path=str(tmp_path), label_space="cifar-100")
    assert source.index().labels[:2] == (99, 0)
    assert source.index().space.outputs == 100
    np.testing.assert_array_equal(source.read("test-00000"), images(1)[0])
    assert len(Cifar(path=str(tmp_path), label_space="cifar-100", split="train").index().ids) == 50_000


def test_files_of_another_kind_are_refused(ten: Path, tmp_path: Path) -> None:
    folder = ten / "cifar-10-batches-bin"
    with (folder / "test_batch.bin").open("r+b") as file:
        file.write(bytes([10]))
    with pytest.raises(DataError, match="a label is 10, cifar-10 has 10 classes: this is not the binary"):
        Cifar(path=str(ten)).index()
    sparse(folder / "test_batch.bin", 9_999 * 3073)
    with pytest.raises(
        DataError, match=r"test_batch.bin has 30,726,927 bytes, expected 30,730,000: it was cut"
    ):
        Cifar(path=str(ten)).index()
    (folder / "test_batch.bin").unlink()
    message = r"^cifar:.*: test_batch.bin cannot be read: No such file.*cifar-10-binary.tar.gz.*is pickled"
    with pytest.raises(DataError, match=message):
        Cifar(path=str(ten)).index()
    with pytest.raises(DataError, match=r"test.bin cannot be read: .*expected .*cifar-100-binary"):
        Cifar(path=str(tmp_path), label_space="cifar-100").index()


@pytest.mark.parametrize("image", ["test-10000", "train-00000", "test-1", "x", "test--0001"])
def test_other_ids(ten: Path, image: str) -> None:
    with pytest.raises(DataError, match=f"no image '{image}'; expected test-00000 to test-09999"):
        Cifar(path=str(ten)).read(image)


def arrays(root: Path, labels: NDArray[Any] | None = None, **images: NDArray[np.uint8]) -> Path:
    """A folder of arrays that are zero but for the first image of each severity."""
    root.mkdir(exist_ok=True)
    for name, first in images.items():
        made = np.lib.format.open_memmap(root / f"{name}.npy", "w+", np.uint8, SHAPE)
        made[::10_000] = first
        made.flush()
    np.save(root / "labels.npy", np.tile(np.arange(10_000) % 10, 5) if labels is None else labels)
    return root


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    return arrays(tmp_path / "C", fog=images(5), snow=images(5, 1))


def source(root: Path, corruption: str = "fog", severity: int = 1, **more: Any) -> CifarC:
    return CifarC(path=str(root), corruption=corruption, severity=severity, **more)


def test_severities_lie_one_after_the_other(corrupted: Path) -> None:
    for severity in range(1, 6):
        found = source(corrupted, severity=severity)
        np.testing.assert_array_equal(found.read("test-00000"), images(5)[severity - 1])
        assert not found.read("test-09999").any()
    np.testing.assert_array_equal(source(corrupted, "snow", 5).read("test-00000"), images(5, 1)[4])


def test_images_pair_with_their_originals(corrupted: Path, ten: Path) -> None:
    found, clean = source(corrupted).index(), Cifar(path=str(ten)).index()
    assert found.ids is clean.ids
    assert found.labels[:11] == (*range(10), 0)
    assert found.space == clean.space
    assert found.view == View()


def test_a_revision_follows_array_severity_and_labels(corrupted: Path) -> None:
    named = [("fog", 1), ("fog", 2), ("snow", 1)]
    first = {key: source(corrupted, *key).index().revision for key in named}
    assert len(set(first.values())) == 3
    assert {key: source(corrupted, *key).index().revision for key in named} == first
    arrays(corrupted, np.tile(np.arange(10_000) % 9, 5))
    assert source(corrupted).index().revision != first["fog", 1]


def test_a_warm_start_reads_no_array(corrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -(10**12))  # files made a moment ago count as settled
    first = [source(corrupted, c).index() for c in ("fog", "snow")]
    monkeypatch.setattr(digests, "file_digest", lambda _: pytest.fail("a file was read"))
    assert [source(corrupted, c).index() for c in ("fog", "snow")] == first


def test_cifar_100_c(tmp_path: Path) -> None:
    root = arrays(tmp_path / "C", np.tile(np.arange(10_000, dtype=np.uint8) % 100, 5), fog=images(5))
    assert max(source(root, label_space="cifar-100").index().labels) == 99
    with pytest.raises(DataError, match="run from 0 to 99, cifar-10 has 10 classes; set label_space"):
        source(root).index()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(10_000, np.int64), r"labels.npy is int64 \(10000,\), expected 50,000 whole numbers"),
        (np.zeros(50_000), r"labels.npy is float64 \(50000,\), expected 50,000 whole numbers"),
        (np.arange(50_000) % 7, "are not the same for every severity"),
        (np.full(50_000, -1), "run from -1 to -1"),
    ],
)
def test_labels_that_do_not_fit(corrupted: Path, labels: NDArray[Any], message: str) -> None:
    np.save(corrupted / "labels.npy", labels)
    with pytest.raises(DataError, match=message):
        source(corrupted).index()


def test_arrays_that_do_not_fit(corrupted: Path) -> None:
    fog = corrupted / "fog.npy"
    whole = fog.stat().st_size

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=f"^cifar_c:.*C: {message}"):
            source(corrupted).read("test-00000")

    with fog.open("r+b") as file:
        file.truncate(whole - 1)
    refused("fog.npy is damaged, cut short or no array of plain numbers: .*unpack the archive again")
    fog.write_bytes(b"")
    refused("fog.npy is damaged")
    np.save(fog, np.array([{"a": 1}], object), allow_pickle=True)
    refused("fog.npy is damaged, cut short or no array of plain numbers: .*Python objects")
    fog.write_bytes(pickle.dumps({"data": 1}))
    refused("fog.npy is damaged, cut short or no array of plain numbers: .*pickle")
    np.save(fog, np.zeros((50, 32, 32, 3), np.uint8))
    refused(r"fog.npy is uint8 \(50, 32, 32, 3\), expected uint8 \(50000, 32, 32, 3\): 5 severities")
    np.save(fog, np.zeros((5, 32, 32, 3), np.float32))
    refused(r"fog.npy is float32 \(5, 32, 32, 3\), expected uint8")
    np.savez(corrupted / "fog", a=np.zeros(3))
    shutil.move(corrupted / "fog.npz", fog)
    refused("fog.npy holds several arrays, expected one")


def test_an_index_sees_a_wrong_array_too(corrupted: Path) -> None:
    np.save(corrupted / "fog.npy", np.zeros((50, 32, 32, 3), np.uint8))
    with pytest.raises(DataError, match=r"fog\.npy is uint8"):
        source(corrupted).index()


def test_what_is_not_there_is_answered_with_what_is(corrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no corruption 'fogg'; there are: fog, snow$"):
        source(corrupted, "fogg").index()
    with pytest.raises(DataError, match=r"no corruption 'labels'; there are: fog, snow$"):
        source(corrupted, "labels").index()
    with pytest.raises(DataError, match=r"there are: no arrays \(expected <corruption>.npy\)"):
        source(tmp_path / "none").index()
    (corrupted / "labels.npy").unlink()
    with pytest.raises(DataError, match=r"labels.npy cannot be read: No such file"):
        source(corrupted).index()
    with pytest.raises(BadParameter, match=r"corruption: .*got '\.\./fog'"):
        data.build("cifar_c", {"path": "x", "corruption": "../fog", "severity": 1})


def test_a_used_source_travels_light(corrupted: Path) -> None:
    used = source(corrupted, severity=2)
    used.index()
    again = pickle.loads(pickle.dumps(used))  # noqa: S301
    assert again == used
    assert set(vars(again)) == {"path", "corruption", "severity", "label_space"}
    np.testing.assert_array_equal(again.read("test-00000"), images(5)[1])
