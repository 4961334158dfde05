"""Attacked images: kept bit by bit beside their rows, asked about again, and shown."""

from __future__ import annotations

import base64
import errno
import io
import json
import signal
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.checks.adversarial import check, survey
from robobench.checks.gallery import gallery, page
from robobench.cli.main import _run
from robobench.engine import sweep
from robobench.engine.resolve import identify
from robobench.errors import ModelError, StoreError
from robobench.lossless import Kept
from robobench.store import Store
from robobench.suite.suite import ModelEntry
from tests.bench import carry_out, left, resolved, rows
from tests.e2e.killed import ATTACKED
from tests.e2e.test_killed import run as run_killed
from tests.fakes import FakeModel, conv_model, conv_net

SUITE = """lot: 8
conditions:
  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [4/255, 16/255, 32/255]}}
  - {use: gradient.pgd, name: l2, with: {steps: 3, norm: l2}, ladder: {eps: [0.5]}}
  - {compose: [{use: occlusion.random, with: {fraction: 0.3, grid: 7}}, {use: gradient.fgsm, with: {eps: 8/255}}], name: under}
"""
FIRST = "lot: 8\nconditions:\n  - {use: gradient.fgsm, name: fgsm, ladder: {eps: [4/255]}}\n"
N = 24


@cache
def vit():
    """A model that is right about nearly every digit."""
    return identify(ModelEntry("zoo:vit"), allow_code=False).load("cpu")


def few(model=None, text=SUITE, limit=N):
    return resolved(text, model or vit(), limit=limit)


def stocks(found, root):
    return {s.cell.condition.name: s for s in survey(found, Store.open(root))}


def verdicts(found, root):
    store = Store.open(root)
    return {v.condition: v for v in check(found, store, survey(found, store), "cpu")}


def pixels(found, root):
    """Every kept image by condition and id."""
    store = Store.open(root)
    return {
        (name, image): store.images(path).pixels([image])[0]
        for name, stock in stocks(found, root).items()
        for image, path in stock.where.items()
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that kept what fell, and what its attacks gave, seen from outside."""
    root, given = tmp_path_factory.mktemp("kept"), {}
    real = sweep.run_attack

    def spied(attack, model, batch, clean, standing, *rest):
        result = real(attack, model, batch, clean, standing, *rest)
        seen = {batch.ids[r]: result.pixels[n].clone() for n, r in enumerate(standing)}
        given.setdefault(attack, {}).update(seen)
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep, "run_attack", spied)
        assert not carry_out(few(), root, keep="fallen").failures
    return root, given


def test_keeping_images_changes_no_number_and_no_key(kept, tmp_path):
    carry_out(few(), tmp_path)
    one, two = rows(few(), kept[0]), rows(few(), tmp_path)
    assert one.equals(two)
    assert not (tmp_path / "images").exists()
    assert "kept" not in Store.open(tmp_path).provenance()[0]


def test_the_pixels_are_those_that_the_attack_gave_bit_by_bit(kept):
    root, given = kept
    there, found = pixels(few(), root), stocks(few(), root)
    for name, attack, eps in (
        ("fgsm eps=4/255", "FastGradientSign", 4 / 255),
        ("fgsm eps=16/255", "FastGradientSign", 16 / 255),
        ("l2 eps=0.5", "ProjectedGradient", 0.5),
        ("under", "FastGradientSign", 8 / 255),
    ):
        result = next(r for a, r in given.items() if type(a).__name__ == attack and a.eps == eps)
        new = [i for i, row in found[name].rows.items() if row["fooled"] and not row["inherited"]]
        assert new
        for image in new:
            assert there[name, image].tobytes() == result[image].clamp(0, 1).numpy().tobytes()


def test_what_fell_is_there_and_a_level_takes_what_fell_earlier_from_the_smaller_one(kept):
    root, _ = kept
    found = stocks(few(), root)
    small, middle = found["fgsm eps=4/255"], found["fgsm eps=16/255"]
    assert all(s.fell == len(s.where) > 0 and not s.lacking and not s.faults for s in found.values())
    early = {i for i, row in small.rows.items() if row["fooled"]}
    assert early
    assert {i: middle.where[i] for i in early} == {i: small.where[i] for i in early}
    own = set().union(
        *(Store.open(root).image_names(p) for p in set(middle.where.values()) - set(small.where.values()))
    )
    assert not own & early, "an image is stored once"
    assert verdicts(few(), root)["fgsm eps=32/255"].images == found["fgsm eps=32/255"].fell


def test_asking_again_finds_everything_as_the_rows_say(kept):
    found = verdicts(few(), kept[0])
    assert len(found) == 5
    assert sum(v.images for v in found.values()) > 2 * N
    for verdict in found.values():
        assert verdict.same, verdict
        assert verdict.images > 0
        assert verdict.logp == 0.0


def test_all_attacked_images_can_be_kept(tmp_path):
    carry_out(few(), tmp_path, keep="all")
    for name, stock in stocks(few(), tmp_path).items():
        assert set(stock.where) == set(stock.rows), name
        assert len(stock.rows) > stock.fell or stock.fell == len(stock.rows)
        at = {i: p.parent.name for i, p in stock.where.items()}
        standing = {i for i, row in stock.rows.items() if not row["fooled"]}
        assert {at[i] for i in standing} <= {stock.cell.key}, "what stands is as this level left it"
    assert all(v.same for v in verdicts(few(), tmp_path).values())


def test_a_longer_run_adds_images(tmp_path):
    carry_out(few(limit=8), tmp_path, keep="fallen")
    before = pixels(few(limit=8), tmp_path)
    carry_out(few(), tmp_path, keep="fallen")
    after = pixels(few(), tmp_path)
    assert before.keys() < after.keys()
    assert all(after[k].tobytes() == v.tobytes() for k, v in before.items())
    assert all(v.same and not v.lacking for v in verdicts(few(), tmp_path).values())


def test_rows_of_before_have_no_images_and_are_left_alone(tmp_path):
    carry_out(few(text=FIRST), tmp_path)
    first = stocks(few(text=FIRST), tmp_path)["fgsm eps=4/255"]
    assert len(first.lacking) == first.fell > 0
    carry_out(few(), tmp_path, keep="fallen")
    found = stocks(few(), tmp_path)
    assert found["fgsm eps=4/255"].lacking == first.lacking, "nothing was computed again"
    assert not found["fgsm eps=16/255"].lacking, "what fell before is written with the level that was"
    assert set(first.lacking) <= set(found["fgsm eps=16/255"].where)
    assert all(v.same for v in verdicts(few(), tmp_path).values())
    assert carry_out(few(), tmp_path, keep="fallen").rows == 0


def test_what_only_looks_at_an_attack_s_health_keeps_no_images_and_spoils_none(tmp_path, monkeypatch):
    monkeypatch.setattr("robobench.suite.health.QUERIES", 2)
    text = (
        "lot: 8\nconditions:\n  - {use: gradient.pgd, name: pgd, with: {steps: 2}, health: true, "
        "ladder: {eps: [8/255, 16/255, 32/255]}}\n"
    )
    found = few(text=text, limit=16)
    assert not carry_out(found, tmp_path, keep="fallen").failures
    assert sum(bool(c.check) for c in found.conditions) > 3
    there = stocks(found, tmp_path)
    assert there.keys() == {f"pgd eps={n}/255" for n in (8, 16, 32)}
    assert len(list((tmp_path / "images").iterdir())) == 3
    assert 0 < there["pgd eps=16/255"].fell < there["pgd eps=32/255"].fell
    assert all(v.same and not v.lacking for v in verdicts(found, tmp_path).values())


def test_what_stood_a_smaller_level_does_not_stand_in_for_a_larger_one(tmp_path):
    carry_out(few(text=FIRST), tmp_path, keep="all")
    carry_out(few(), tmp_path)
    found = stocks(few(), tmp_path)
    small, middle = found["fgsm eps=4/255"], found["fgsm eps=16/255"]
    assert len(small.where) == len(small.rows) > small.fell > 0
    assert set(middle.where) == {i for i, row in middle.rows.items() if row["inherited"]}
    assert len(middle.lacking) == middle.fell - small.fell > 0


def copy(kept, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(kept[0], tmp_path / "copy"))


@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_or_missing_file_is_named_and_the_rest_goes_on(harm, kept, tmp_path, monkeypatch):
    root = copy(kept, tmp_path)
    path = next(iter(stocks(few(), root)["fgsm eps=16/255"].where.values()))
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-40] ^= 1
    path.write_bytes(bytes(data[:-9] if harm == "cut" else data))
    if harm == "gone":
        path.unlink()
        monkeypatch.setattr("robobench.store._COMPACT_ABOVE", 1)
        store = Store.open(root)
        with store.writing():
            store.compact()
        assert len(store.row_files()) == 1, "one file of rows knows the images of all"
    said = "is gone" if harm == "gone" else "is damaged"
    found = verdicts(few(), root)
    bad = {n for n, v in found.items() if not v.same}
    assert bad
    assert all(n.startswith("fgsm") for n in bad)
    assert any(said in fault and str(path) in fault for n in bad for fault in found[n].faults)
    assert found["l2 eps=0.5"].same
    assert found["under"].same
    panels = gallery(few(), Store.open(root), survey(few(), Store.open(root)), 4)
    assert said in page("T", panels)
    assert sum(len(p.shots) for p in panels) > 4


def change(root: Path, how) -> None:
    """Write a level's own images again, honestly, but not as they were."""
    store = Store.open(root)
    stock = stocks(few(), root)["under"]
    path = next(iter(stock.where.values()))
    old = store.images(path)
    path.write_bytes(Kept.of(old.ids, old.fell, how(old.pixels(old.ids))).to_bytes())


def test_other_pixels_are_noticed(kept, tmp_path):
    root = copy(kept, tmp_path)
    change(root, lambda old: np.zeros_like(old))
    under = verdicts(few(), root)["under"]
    assert not under.same
    assert under.budget == under.distance == under.images
    assert under.answer > 0
    assert verdicts(few(), root)["l2 eps=0.5"].same


def test_pixels_of_another_size_are_noticed(kept, tmp_path):
    root = copy(kept, tmp_path)
    change(root, lambda old: old[:, :, :20])
    assert verdicts(few(), root)["under"].distance > 0


class Moody(torch.nn.Module):
    """Weights as ever, but the answer turns when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.net = conv_net(10)
        self.turned = False

    def forward(self, x):
        logits = self.net(x)
        return logits.roll(1, 1) if self.turned else logits


def test_a_model_that_answers_otherwise_is_noticed(tmp_path):
    moody = Moody()
    found = few(FakeModel(moody, outputs=10), limit=100)
    carry_out(found, tmp_path, keep="fallen")
    assert all(v.same for v in verdicts(found, tmp_path).values())
    moody.turned = True
    for verdict in verdicts(found, tmp_path).values():
        assert not verdict.same
        assert verdict.answer == verdict.images == verdict.clean
        assert verdict.logp > 0.01
        assert verdict.distance == verdict.budget == 0


def test_a_model_with_other_weights_is_refused(tmp_path):
    carry_out(few(), tmp_path, keep="fallen")
    other = few(conv_model(10))  # the same identity in front, other weights behind it
    with pytest.raises(ModelError, match="loaded with other weights"):
        verdicts(other, tmp_path)


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(kept, tmp_path, monkeypatch):
    write, left_over = Path.write_bytes, [2]

    def full(self, data):
        if ".safetensors" in self.name:
            left_over[0] -= 1
            if left_over[0] < 0:
                write(self, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="the disk is full"):
        carry_out(few(), tmp_path, keep="fallen")
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.part"))
    assert left(few(), Store.open(tmp_path)).items
    carry_out(few(), tmp_path, keep="fallen")
    one, two = pixels(few(), tmp_path), pixels(few(), kept[0])
    assert one.keys() == two.keys()
    assert all(v.same and not v.lacking for v in verdicts(few(), tmp_path).values())


@pytest.mark.parametrize(("point", "number"), [("image", 3), ("between", 3)])
def test_a_killed_run_is_finished_with_its_images(point, number, tmp_path):
    assert run_killed(tmp_path, point, number) == -signal.SIGKILL
    found = resolved(ATTACKED, conv_model(10), limit=100)
    before = stocks(found, tmp_path)
    assert before.keys() == {"fgsm eps=4/255", "fgsm eps=8/255"}
    assert all(not s.lacking for s in before.values()), "rows that are there have their images"
    carry_out(found, tmp_path, keep="fallen")
    after = stocks(found, tmp_path)
    assert all(s.images == 100 and not s.lacking and not s.faults for s in after.values())
    assert not list(tmp_path.rglob("*.part"))
    assert all(v.same for v in verdicts(found, tmp_path).values())


class Pictures(HTMLParser):
    """The pictures of a page, and what else it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str]] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.pictures.append(dict(attrs))
        self.scripts += tag in ("script", "link", "iframe")

    def array(self, n: int):
        data = base64.b64decode(self.pictures[n]["src"].removeprefix("data:image/png;base64,"))
        return np.asarray(Image.open(io.BytesIO(data)))


def test_the_page_shows_clean_change_and_attacked_image_as_they_are(kept):
    class Absent:
        def __getattr__(self, name):
            raise AssertionError("the gallery asks no model")

    store, found = Store.open(kept[0]), few(Absent())
    panels = gallery(found, store, survey(found, store), 3)
    assert [p.condition for p in panels] == [c.name for c in found.conditions if c.attack]
    assert all(len(p.shots) == min(3, p.fell) for p in panels)
    text = page('Two < "three"', panels)
    assert "Two &lt; &#34;three&#34;" in text
    seen = Pictures(text)
    assert seen.scripts == 0
    assert len(seen.pictures) == 3 * sum(len(p.shots) for p in panels)
    there = pixels(found, kept[0])
    shots = [(p.condition, s) for p in panels for s in p.shots]
    source = found.data["base"].source
    for n, (condition, shot) in enumerate(shots):
        attacked = there[condition, shot.image]
        stored = source.read(shot.image)
        if condition != "under":
            assert np.array_equal(seen.array(3 * n), stored)
            change = (attacked.transpose(1, 2, 0) - stored / np.float32(255)) * 10 + 0.5
            off = seen.array(3 * n + 1) - np.clip(np.rint(change * 255), 0, 255)
            assert np.abs(off).max() <= 1
        assert np.array_equal(
            seen.array(3 * n + 2), np.rint(attacked * 255).astype(np.uint8).transpose(1, 2, 0)
        )
        for part in seen.pictures[3 * n : 3 * n + 3]:
            assert shot.image in part["alt"]
            assert int(part["width"]) == int(part["height"]) == 6 * 28
        assert shot.label != shot.answer
        assert f"{shot.label} → {shot.answer}" in text


def test_a_level_shows_first_what_fell_there(kept):
    store, found = Store.open(kept[0]), few()
    panel = next(
        p for p in gallery(found, store, survey(found, store), 40) if p.condition == "fgsm eps=16/255"
    )
    earlier = [bool(s.at) for s in panel.shots]
    assert earlier == sorted(earlier)
    assert {s.at for s in panel.shots} == {"", "fgsm eps=4/255"}
    assert all(s.linf <= 4 / 255 + 1e-6 for s in panel.shots if s.at)


def test_an_image_that_fools_only_unrounded_says_so(kept):
    store, found = Store.open(kept[0]), few()
    panels = gallery(found, store, survey(found, store), 40)
    said = page("T", panels).count("rounded to 8 bits, as here, it fools no more")
    frame = rows(found, kept[0])
    attacked = frame[frame.fooled.fillna(False).astype(bool)]
    assert said == (~attacked.fooled_8bit.astype(bool)).sum()


def test_a_run_from_python_keeps_images_too(tmp_path):
    import robobench

    (tmp_path / "few.yaml").write_text(YAML)
    model = conv_net(10)
    robobench.run(tmp_path / "few.yaml", {"m": model}, limit=40, out=tmp_path / "r", keep_images="fallen")
    assert list((tmp_path / "r" / "images").rglob("*.safetensors"))


YAML = """schema: 1
name: few
title: A few digits
data: {source: digits, path: mnist}
view: {}
lot: 8
conditions:
  - {use: gradient.fgsm, name: FGSM, ladder: {eps: [16/255, 48/255]}}
"""


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("few.yaml").write_text(YAML)
    factory = Path("mine.py")
    factory.write_text(
        "import torch\nfrom tests.fakes import conv_net\n\ndef build():\n    return conv_net(10, 0)\n"
    )
    chosen = ["few.yaml", "-m", "mine.py:build", "-n", "16"]

    def said(*arguments, code=0):
        found = _run(list(arguments))
        printed = capsys.readouterr()
        assert found == code, printed.out + printed.err
        return printed

    error = said("adversarial", *chosen, "-o", "none", code=2).err
    assert "no results there" in error
    said("run", *chosen, "-o", "plain")
    error = said("adversarial", *chosen, "-o", "plain", code=2).err
    assert "its attacks were run without keeping images, and what has rows is not computed again" in error
    error = said("run", *chosen, "-o", "plain", "--keep-images", "fallen").err
    assert "FGSM eps=16/255: " in error
    assert "have rows and no kept pixels. What has rows is not computed again" in error
    error = said("run", *chosen, "-o", "kept", "--keep-images", "fallen").err
    assert "no kept pixels" not in error
    listed = said("adversarial", *chosen, "-o", "kept").out
    assert "FGSM eps=48/255" in listed
    assert "Traceback" not in listed
    asked = json.loads(said("adversarial", *chosen, "-o", "kept", "--check", "--to", "g", "--json").out)
    assert all(v["same"] for v in asked["check"])
    assert asked["page"] == "g/few.html"
    assert Pictures(Path("g/few.html").read_text()).pictures
    assert "all as the rows say" in said("adversarial", *chosen, "-o", "kept", "--check").out
    Path("file").write_text("")
    assert "cannot be written to" in said("adversarial", *chosen, "-o", "kept", "--to", "file", code=2).err
    path = next(Path("kept/images").rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    printed = said("adversarial", *chosen, "-o", "kept", "--check", code=3)
    assert "not as the rows say" in printed.out
    assert "is damaged" in printed.err
    factory.write_text(factory.read_text().replace("10, 0", "10, 1"))
    error = said("adversarial", *chosen, "-o", "kept", code=2).err
    assert "are of another state of the model, the data or the suite" in error
    error = said("run", *chosen, "--keep-images", "some", code=2).err
    assert "'fallen'" in error
    assert "'all'" in error
