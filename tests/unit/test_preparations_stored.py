"""Maps, masks and boxes from files: found by image id and seen through the view of the images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from robobench.errors import DataError
from robobench.images import apply_view, decode_levels
from robobench.registry import preparations
from robobench.types import View
from tests.fakes import make_batch, make_draws
from tests.stored_files import BOX, place, write_stored

VIEWS = [
    View(),
    View(resize=20, crop=16, interpolation="bicubic"),
    View(size=16),
    View(crop=16),
    View(resize=12, crop=16),  # smaller than the crop: a border is added
]


def run(name, batches, view=None, **params):
    made = preparations.build(name, params)
    made = made if view is None else made.through(view)
    return made(None, batches, make_draws(batches[0]))


def one(side=16, width=None, image="n01/one.JPEG"):
    return replace(make_batch(n=1, side=side, width=width), ids=(image,))


def colours(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def seen(values, view):
    """A uint8 map through the view, as an image with three equal channels."""
    return apply_view(np.repeat(values[..., None], 3, axis=2), replace(view, interpolation="nearest"))[..., 0]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("height", "width"), [(31, 24), (24, 31)])
def test_maps_and_masks_go_through_the_view_of_the_images(tmp_path, view, height, width):
    values = colours(height, width)
    values[values < 100] = 0
    Image.fromarray(values).save(place(tmp_path, "n01/one", ".png"))
    expected = torch.from_numpy(seen(values, view)).float()
    batch = one(*expected.shape)
    shown = run("saliency.file", [batch], view, path=str(tmp_path))["saliency"]
    assert shown.dtype == torch.float32
    assert torch.equal(shown[0], expected)
    mask = run("masks.file", [batch], view, path=str(tmp_path))["mask"]
    assert mask.dtype == torch.float32
    assert torch.equal(mask[0], (expected > 0).float())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.bool_])
def test_arrays_keep_their_numbers(tmp_path, dtype):
    values = (colours(31, 24) / 7 - 3).astype(dtype)
    np.save(place(tmp_path, "n01/one", ".npy"), values)
    whole = run("saliency.file", [one(31, 24)], path=str(tmp_path))["saliency"][0]
    assert torch.equal(whole, torch.from_numpy(values.astype(np.float32)))
    view = View(crop=16)
    cut = run("saliency.file", [one()], view, path=str(tmp_path))["saliency"][0]
    assert torch.equal(cut, whole[8:24, 4:20])  # (31 - 16) / 2 is rounded to even


@pytest.mark.parametrize(("side", "width"), [(16, 16), (17, 23), (3, 5)])
def test_a_map_of_the_view_is_stretched_over_the_pixels(tmp_path, side, width):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(place(tmp_path, "n01/one", ".npy"), values)
    view = View(resize=9)  # plays no part
    shown = run("saliency.file", [one(side, width)], view, path=str(tmp_path), covers="view")["saliency"][0]
    for y in range(side):
        for x in range(width):
            assert shown[y, x] == values[y * 3 // side, x * 4 // width]


def test_one_row_per_image_in_the_order_of_the_batches(tmp_path):
    batch = make_batch(n=6, side=16)
    write_stored(tmp_path, batch.ids, 16)
    for name, folder, key in (
        ("saliency.file", "maps", "saliency"),
        ("masks.file", "masks", "mask"),
        ("masks.boxes", "boxes", "mask"),
    ):
        whole = run(name, [batch], path=str(tmp_path / folder))[key]
        assert whole.shape == (6, 16, 16)
        assert len({v.numpy().tobytes() for v in whole}) == 6
        back = [batch.select([5, 3]), batch.select([0])]
        assert torch.equal(run(name, back, path=str(tmp_path / folder))[key], whole[[5, 3, 0]])
        made = preparations.build(name, {"path": str(tmp_path / folder)})
        assert made(None, [], make_draws(batch))[key].shape == (0, 0, 0)
        assert not made.needs_model


@pytest.mark.parametrize("image", ["n01/one.JPEG", "n01/one", "n01/one.v2.png"])
def test_a_file_is_named_like_the_image(tmp_path, image):
    np.save(place(tmp_path, "n01/other", ".npy"), np.ones((16, 16)))
    np.save(place(tmp_path, "n02/one", ".npy"), np.ones((16, 16)))
    with pytest.raises(
        DataError, match=r"saliency\.file: no file for image 'n01/one.*' in '.*'; expected n01/one"
    ):
        run("saliency.file", [one(image=image)], path=str(tmp_path))
    (tmp_path / "n01" / f"{image.removeprefix('n01/')}.npy").write_bytes(
        (tmp_path / "n02/one.npy").read_bytes()
    )
    assert run("saliency.file", [one(image=image)], path=str(tmp_path))["saliency"].sum() == 256


def test_what_is_in_the_files_is_the_revision_and_not_where_they_lie(tmp_path):
    ids = make_batch().ids
    for name in ("a", "b"):
        write_stored(tmp_path / name, ids, 16)
    for plugin, folder in (("saliency.file", "maps"), ("masks.file", "masks"), ("masks.boxes", "boxes")):
        first, again = (
            preparations.build(plugin, {"path": str(tmp_path / n / folder)}).revision() for n in ("a", "b")
        )
        assert first == again
        file = sorted((tmp_path / "b" / folder).rglob("*.*"))[2]
        content = file.read_bytes()
        file.write_bytes(content + b" ")
        made = preparations.build(plugin, {"path": str(tmp_path / "b" / folder)})
        assert made.revision() != first
        file.write_bytes(content)
        assert made.revision() == first
        file.rename(file.with_stem("renamed"))
        assert made.revision() != first


def test_a_view_makes_another_preparation_and_leaves_the_first(tmp_path):
    made = preparations.build("masks.file", {"path": str(tmp_path)})
    seen_through = made.through(View(crop=4))
    assert (made.view, seen_through.view) == (None, View(crop=4))
    assert seen_through.path == made.path
    assert seen_through != made


@pytest.mark.parametrize("name", ["saliency.file", "masks.file", "masks.boxes"])
def test_a_folder_that_is_missing_or_empty_is_named(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: path: expected a folder, got '.*nowhere', which is none"):
        run(name, [one()], path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=rf"{name}: '.*' holds no file with a suffix of \."):
        run(name, [one()], path=str(tmp_path))
    with pytest.raises(DataError, match="holds no file with a suffix"):
        preparations.build(name, {"path": str(tmp_path)}).revision()


def test_two_files_for_one_image_are_refused(tmp_path):
    np.save(place(tmp_path, "n01/one", ".npy"), np.ones((16, 16)))
    Image.fromarray(colours(16, 16)).save(place(tmp_path, "n01/one", ".png"))
    with pytest.raises(
        DataError, match=r"one\.npy and one\.png in '.*' would both belong to 'n01/one'; keep"
    ):
        run("saliency.file", [one()], path=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.ones((16, 16, 3)),
            r"expected numbers of shape \(height, width\), got float64 of shape \(16, 16, 3\)",
        ),
        (np.full((16, 16), np.nan), "holds NaN or infinity"),
        (np.full((16, 16), "x"), r"expected numbers of shape"),
        (np.empty((0, 4)), r"expected numbers of shape"),
        (
            np.ones((15, 16)),
            r"stored for image 'n01/one.JPEG' is 15x16 in the view .* which are 16x16; it has to",
        ),
        (np.array([[{}]], dtype=object), "cannot be read as an array"),
    ],
)
def test_a_map_that_is_none_is_refused(tmp_path, values, message):
    np.save(place(tmp_path, "n01/one", ".npy"), values, allow_pickle=True)
    with pytest.raises(DataError, match=rf"saliency\.file.*{message}"):
        run("saliency.file", [one()], path=str(tmp_path))


def test_a_damaged_mask_is_named(tmp_path):
    place(tmp_path, "n01/one", ".png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"masks\.file: one\.png: cannot be decoded: not an image"):
        run("masks.file", [one()], path=str(tmp_path))


# Boxes


def test_boxes_are_painted_on_the_stored_image_and_then_seen(tmp_path):
    height, width = 30, 40
    first, second = (3, 5, 20, 12), (15, 8, 33, 30)
    text = BOX.format(width=width, height=height, box=first)
    more = BOX.format(width=0, height=0, box=second)
    more = more[more.index("<object>") : more.index("</annotation>")]
    place(tmp_path, "n01/one", ".xml").write_text(text.replace("</annotation>", more + "</annotation>"))
    expected = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            expected[y, x] = any(a <= x < c and b <= y < d for a, b, c, d in (first, second))
    whole = run("masks.boxes", [one(height, width)], path=str(tmp_path))["mask"][0]
    assert np.array_equal(whole.numpy(), expected)
    for view in VIEWS[1:]:
        shown = seen(expected, view)
        mask = run("masks.boxes", [one(*shown.shape)], view, path=str(tmp_path))["mask"][0]
        assert np.array_equal(mask.numpy(), shown)


def test_an_annotation_is_found_by_the_name_of_the_file_at_any_depth(tmp_path):
    place(tmp_path, "val/deep/one", ".xml").write_text(BOX.format(width=16, height=16, box=(0, 0, 4, 4)))
    assert run("masks.boxes", [one()], path=str(tmp_path))["mask"].sum() == 16
    place(tmp_path, "n01/one", ".xml").write_text(BOX.format(width=16, height=16, box=(0, 0, 5, 5)))
    assert run("masks.boxes", [one()], path=str(tmp_path))["mask"].sum() == 25  # the same place comes first
    with pytest.raises(
        DataError, match=r"expected one annotation called 'one' for image 'n02/one\.JPEG', got "
    ):
        run("masks.boxes", [one(image="n02/one.JPEG")], path=str(tmp_path))
    with pytest.raises(DataError, match=r"expected one annotation called 'two' for .*, got none"):
        run("masks.boxes", [one(image="n01/two.JPEG")], path=str(tmp_path))


def test_one_annotation_never_serves_two_images(tmp_path):
    place(tmp_path, "one", ".xml").write_text(BOX.format(width=16, height=16, box=(0, 0, 4, 4)))
    batch = replace(make_batch(n=2), ids=("n01/one.JPEG", "n02/one.JPEG"))
    with pytest.raises(
        DataError, match=r"annotation 'one' would serve both 'n01/one\.JPEG' and 'n02/one\.JPEG'"
    ):
        run("masks.boxes", [batch], path=str(tmp_path))


def test_an_annotation_without_boxes_is_an_empty_mask_and_boxes_are_cut_at_the_border(tmp_path):
    text = BOX.format(width=16, height=16, box=(-3, -2.5, 99, 1.9))
    place(tmp_path, "n01/one", ".xml").write_text(text)
    mask = run("masks.boxes", [one()], path=str(tmp_path))["mask"][0]
    assert mask[0].all()
    assert not mask[1:].any()
    empty = text[: text.index("<object>")] + "</annotation>"
    place(tmp_path, "n01/one", ".xml").write_text(empty)
    assert (run("masks.boxes", [one()], path=str(tmp_path))["mask"] == 0).all()


GOOD = BOX.format(width=16, height=16, box=(0, 0, 4, 4))
LAUGHS = '<!DOCTYPE a [<!ENTITY b "ha">]>' + GOOD.replace("thing", "&b;")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), "holds a document type declaration"),
        (LAUGHS.encode("utf-16"), "is not XML"),
        (b"<annotation>", "is not XML: no element found"),
        (
            GOOD.replace("<xmax>4", "<xmax>four").encode(),
            r"bndbox/xmax: expected a number of pixels, got 'four'",
        ),
        (GOOD.replace("<xmax>4</xmax>", "").encode(), r"bndbox/xmax: expected a number of pixels, got None"),
        (GOOD.replace("<xmax>4", "<xmax>inf").encode(), r"expected a number of pixels, got 'inf'"),
        (GOOD.replace("width", "wide").encode(), r"size/width: expected a number of pixels, got None"),
        (GOOD.replace("<width>16", "<width>0").encode(), r"expected the size of an image, got 0 x 16 pixels"),
        (
            GOOD.replace("<width>16", "<width>99999999").encode(),
            r"expected the size of an image, got 99999999 x",
        ),
        (
            GOOD.replace("<width>16", "<width>15").encode(),
            r"is 16x15 in the view of the images, which are 16x16",
        ),
    ],
)
def test_an_annotation_that_is_none_is_refused(tmp_path, content, message):
    place(tmp_path, "n01/one", ".xml").write_bytes(content)
    with pytest.raises(DataError, match=rf"masks\.boxes.*{message}"):
        run("masks.boxes", [one()], path=str(tmp_path))


def table(tmp_path, text):
    path = tmp_path / "LOC_val_solution.csv"
    path.write_text(text)
    images = tmp_path / "images"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(place(images, "n01/one", ".png"))
    return {"path": str(path), "images": str(images)}


def test_boxes_of_a_table_have_the_size_of_the_images(tmp_path):
    params = table(tmp_path, "ImageId,PredictionString\none,n01 3 5 20 12 n01 15 8 33 30 \ntwo,\n")
    mask = run("masks.boxes", [one(30, 40)], **params)["mask"][0]
    expected = np.zeros((30, 40))
    expected[5:12, 3:20] = 1
    expected[8:30, 15:33] = 1
    assert np.array_equal(mask.numpy(), expected)
    shown = run("masks.boxes", [one()], View(crop=16), **params)["mask"][0]
    assert np.array_equal(shown.numpy(), expected[7:23, 12:28])
    first = preparations.build("masks.boxes", params).revision()
    Image.fromarray(np.zeros((30, 41, 3), np.uint8)).save(place(tmp_path / "images", "n01/one", ".png"))
    assert preparations.build("masks.boxes", params).revision() != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ImageId,Boxes\none,\n",
            r"expected the columns ImageId, PredictionString, got \['ImageId', 'Boxes'\]",
        ),
        (
            "ImageId,PredictionString\none,n01 3 5 20\n",
            r"one: expected a class and four corners for each box, got 4",
        ),
        ("ImageId,PredictionString\none,n01 3 5 20 x\n", r"one: expected a number of pixels, got 'x'"),
        ("ImageId,PredictionString\none,\none,\n", r"image 'one' has two rows"),
        (
            "ImageId,PredictionString\ntwo,\n",
            r"expected one row called 'one' for image 'n01/one.JPEG', got none",
        ),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, message):
    params = table(tmp_path, text)
    with pytest.raises(DataError, match=rf"masks\.boxes.*{message}"):
        run("masks.boxes", [one(30, 40)], **params)


def test_a_table_needs_the_images_it_speaks_of(tmp_path):
    params = table(tmp_path, "ImageId,PredictionString\none,n01 3 5 20 12\ntwo,\n")
    with pytest.raises(
        DataError, match=r"a CSV file does not say how large the images are: give their folder"
    ):
        run("masks.boxes", [one(30, 40)], path=params["path"])
    with pytest.raises(
        DataError, match=r"expected one image called 'two' for image 'n01/two\.JPEG', got none"
    ):
        run("masks.boxes", [one(image="n01/two.JPEG")], **params)
    (tmp_path / "images/n01/one.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images: one\.png: its size cannot be read"):
        run("masks.boxes", [one(30, 40)], **params)
    with pytest.raises(DataError, match=r"'.*gone\.csv': cannot be read: No such file"):
        run("masks.boxes", [one()], path=str(tmp_path / "gone.csv"), images=params["images"])


# Images whose pixels are numbers


def saved(tmp_path, image, suffix="png"):
    path = tmp_path / f"levels.{suffix}"
    image.save(path)
    return decode_levels(path, "levels")


def test_levels_are_the_numbers_as_stored(tmp_path):
    grey = colours(5, 7)
    assert np.array_equal(saved(tmp_path, Image.fromarray(grey)), grey)
    deep = grey.astype(np.uint16) * 3  # small numbers, which `decode` would cut off
    assert np.array_equal(saved(tmp_path, Image.fromarray(deep)), deep)
    palette = Image.fromarray(grey % 5).convert("L")
    palette.putpalette([0] * 768)  # all colours are black, the numbers are not
    assert palette.mode == "P"
    assert np.array_equal(saved(tmp_path, palette), grey % 5)
    assert np.array_equal(saved(tmp_path, Image.fromarray(grey > 99)), grey > 99)
    colour = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(saved(tmp_path, Image.fromarray(colour)), colour.max(2))
    for mode, given, expected in (("LA", grey, grey), ("RGBA", colour, colour.max(2))):
        image = Image.fromarray(given).convert(mode)
        image.putalpha(255 if mode == "LA" else 9)
        assert np.array_equal(saved(tmp_path, image), expected)
    values = grey.astype(np.float32) / 7 - 3
    assert np.array_equal(saved(tmp_path, Image.fromarray(values), "tif"), values)
    assert saved(tmp_path, Image.fromarray(grey)).dtype == np.float32


def test_levels_of_a_damaged_file_are_refused(tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(colours(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"^here: cannot be decoded: "):
        decode_levels(path, "here")
