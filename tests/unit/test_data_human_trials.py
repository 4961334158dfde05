"""Human trials and cue conflicts: small trees in the published layouts, with what people answered."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from robobench.data.cue_conflict import CueConflict
from robobench.data.human_trials import HumanTrials
from robobench.data.label_space import label_space
from robobench.errors import DataError
from robobench.registry import build_metric
from tests.data_fixtures import encoded, picture

CLASSES = label_space("imagenet-16").classes
HEADER = ("subj", "Session", "trial", "rt", "object_response", "category", "condition", "imagename")
IMAGES = (  # condition, class, the image's own name
    ("0.00", "knife", "n03041632_7380"),
    ("0.00", "dog", "n02091467_7264"),
    ("0.90", "dog", "n02107683_5424"),
    ("0.90", "cat", "n02123394_133"),
)


def session_tree(root):
    folder = root / "dnn" / "session-1"
    folder.mkdir(parents=True)
    for n, (condition, category, name) in enumerate(IMAGES):
        file = folder / f"{n + 1:04d}_nse_dnn_{condition}_{category}_10_{name}.png"
        file.write_bytes(encoded(picture(seed=n)))
    return root


def class_tree(root):
    for n, (_, category, name) in enumerate(IMAGES):
        (root / category).mkdir(parents=True, exist_ok=True)
        (root / category / f"{name}.png").write_bytes(encoded(picture(seed=n)))
    return root


def table(folder, subject, answers, *, conditions=None, header=HEADER, order=(2, 0, 3, 1)):
    """One person's answers, a class for each image, in an order of its own."""
    folder.mkdir(exist_ok=True)
    with (folder / f"noise_{subject}_session_1.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for trial, n in enumerate(order):
            condition, category, name = IMAGES[n]
            said = (conditions or {}).get(n, condition)
            image = f"{trial + 1:04d}_nse_s01_{said}_{category}_10_{name}.png"
            writer.writerow([subject, 1, trial + 1, 0.5, answers[n], category, said, image])
    return folder


@pytest.fixture
def tables(tmp_path):
    table(tmp_path / "csv", "subject-02", ["knife", "dog", "dog", "na"])
    table(tmp_path / "csv", "subject-01", ["dog", "dog", "cat", "cat"], order=(3, 2, 1))
    return table(tmp_path / "csv", "resnet50", ["knife"] * 4)


@pytest.fixture
def stimuli(tmp_path):
    return session_tree(tmp_path / "noise")


def by_name(index, fact):
    return {
        i.rpartition("_")[2].partition(".")[0]: v for i, v in zip(index.ids, index.facts[fact], strict=True)
    }


def test_people_are_bits_in_alphabetical_order_and_models_are_passed_over(stimuli, tables):
    index = HumanTrials(path=str(stimuli), humans=str(tables)).index()
    assert [CLASSES[label] for label in index.labels] == ["knife", "dog", "dog", "cat"]
    assert by_name(index, "human_asked") == {"7380": 2, "7264": 3, "5424": 3, "133": 3}
    assert by_name(index, "human_right") == {"7380": 2, "7264": 3, "5424": 2, "133": 1}
    assert index.space.name == "imagenet-16"
    assert index.view is not None
    assert str(index.view) == "as stored"


def test_rows_of_the_facts_give_the_peoples_accuracies(stimuli, tables):
    index = HumanTrials(path=str(stimuli), humans=str(tables)).index()
    rows = {"hit": np.zeros(4, int), **{f"x_{k}": np.array(v, np.float32) for k, v in index.facts.items()}}
    assert build_metric("consistency.human_accuracy")(rows) == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert build_metric("consistency.observed?who=humans")(rows) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("condition", "labels"), [("0.9", ["dog", "cat"]), ("0", ["knife", "dog"])])
def test_a_condition_is_a_part_of_the_images_whichever_way_its_number_is_written(
    stimuli, tables, condition, labels
):
    whole = HumanTrials(path=str(stimuli), humans=str(tables)).index()
    source = HumanTrials(path=str(stimuli), humans=str(tables), condition=condition)
    index = source.index()
    assert [CLASSES[label] for label in index.labels] == labels
    assert len(index.facts["human_asked"]) == 2
    assert set(index.ids) < set(whole.ids)
    assert index.revision != whole.revision
    assert source.read(index.ids[0]).shape == (12, 9, 3)


def test_class_folders_are_a_set_of_one_condition(tmp_path):
    root, humans = class_tree(tmp_path / "edge"), tmp_path / "csv"
    table(humans, "subject-01", ["knife", "cat", "dog", "cat"], conditions=dict.fromkeys(range(4), "0"))
    index = HumanTrials(path=str(root), humans=str(humans)).index()
    assert by_name(index, "human_right") == {"7380": 1, "7264": 0, "5424": 1, "133": 1}


def test_other_answers_are_another_revision(stimuli, tables):
    before = HumanTrials(path=str(stimuli), humans=str(tables)).index().revision
    table(tables, "subject-02", ["na", "dog", "dog", "na"])
    assert HumanTrials(path=str(stimuli), humans=str(tables)).index().revision != before


def refused(source, *parts):
    with pytest.raises(DataError) as error:
        source.index()
    message = str(error.value)
    assert message.startswith("human_trials:")
    for part in parts:
        assert part in message


def test_a_condition_that_is_not_there_names_those_that_are(stimuli, tables):
    source = HumanTrials(path=str(stimuli), humans=str(tables), condition="0.3")
    refused(source, "no condition '0.3'", "0.00, 0.90")


def test_tables_of_another_experiment_are_refused(tmp_path, stimuli):
    other = table(tmp_path / "other", "subject-01", ["dog"] * 4, conditions={2: "0.35"})
    refused(
        HumanTrials(path=str(stimuli), humans=str(other)), "condition '0.90'", "'0.35'", "another experiment"
    )
    folder = tmp_path / "empty"
    refused(HumanTrials(path=str(stimuli), humans=str(folder)), "no such folder", "raw-data/contrast")
    folder.mkdir()
    refused(HumanTrials(path=str(stimuli), humans=str(folder)), "no CSV file")
    models = table(tmp_path / "models", "resnet50", ["dog"] * 4)
    refused(HumanTrials(path=str(stimuli), humans=str(models)), "0 people", "'subject-'")


def test_tables_that_know_none_of_the_images_are_refused(tmp_path, tables):
    root = tmp_path / "else" / "dnn" / "session-1"
    root.mkdir(parents=True)
    (root / "0001_nse_dnn_0.00_dog_10_n1_1.png").write_bytes(encoded(picture()))
    refused(HumanTrials(path=str(tmp_path / "else"), humans=str(tables)), "know none of 1 images", "'n1_1'")


def test_columns_twice_shown_images_and_names_are_checked(tmp_path, stimuli):
    lost = table(
        tmp_path / "lost", "subject-01", ["dog"] * 4, header=("subj", *HEADER[1:4], "answer", *HEADER[5:])
    )
    refused(HumanTrials(path=str(stimuli), humans=str(lost)), "no column 'object_response'")
    twice = table(tmp_path / "twice", "subject-01", ["dog"] * 4, order=(0, 1, 0))
    refused(HumanTrials(path=str(stimuli), humans=str(twice)), "subject-01", "'n03041632_7380' twice")
    fine = table(tmp_path / "fine", "subject-01", ["dog"] * 4)
    (stimuli / "dnn" / "session-1" / "dog.png").write_bytes(encoded(picture()))
    refused(HumanTrials(path=str(stimuli), humans=str(fine)), "session-1/dog.png", "0001_cop_dnn_c30")


def test_a_class_that_is_none_of_the_sixteen_is_refused(tmp_path, tables):
    root = session_tree(tmp_path / "set")
    (root / "dnn" / "session-1" / "0009_nse_dnn_0.00_horse_10_n1_1.png").write_bytes(encoded(picture()))
    refused(HumanTrials(path=str(root), humans=str(tables)), "'horse'", "airplane, bear")


def test_more_people_than_a_column_holds_are_refused(tmp_path, stimuli):
    for n in range(25):
        table(tmp_path / "many", f"subject-{n:02d}", ["dog"] * 4)
    refused(HumanTrials(path=str(stimuli), humans=str(tmp_path / "many")), "25 people", "1 to 24")


# Cue conflicts


def conflicts(root, textures=CLASSES, each=1):
    """Each shape with each texture; the pixels are those of no photo."""
    for shape in CLASSES:
        (root / shape).mkdir(parents=True)
        for texture in textures:
            for k in range(each):
                (root / shape / f"{shape}{k + 1}-{texture}{k + 2}.png").write_bytes(encoded(picture()))
    return root


def test_file_names_say_the_texture(tmp_path):
    index = CueConflict(path=str(conflicts(tmp_path / "cue-conflict")), partial=True).index()
    assert len(index.ids) == 256
    for image, label, texture in zip(index.ids, index.labels, index.facts["texture"], strict=True):
        shape, _, name = image.partition("/")
        assert CLASSES[label] == shape
        assert f"-{CLASSES[int(texture)]}2." in name
    assert sum(t == s for t, s in zip(index.facts["texture"], index.labels, strict=True)) == 16
    assert str(index.view) == "as stored"
    assert index.space.name == "imagenet-16"


def test_the_folder_above_is_as_good_and_the_published_count_is_checked(tmp_path):
    conflicts(tmp_path / "cue-conflict", each=5)
    whole = CueConflict(path=str(tmp_path)).index()
    assert len(whole.ids) == 1280
    (tmp_path / "cue-conflict" / whole.ids[0]).unlink()
    with pytest.raises(DataError, match=r"1,279 readable images, published were 1,280"):
        CueConflict(path=str(tmp_path)).index()


@pytest.mark.parametrize("name", ["cat1.png", "dog1-cat2.png", "cat1-horse2.png", "cat1_dog2.png"])
def test_a_name_that_says_no_texture_is_refused(tmp_path, name):
    root = conflicts(tmp_path / "set", textures=("dog",))
    (root / "cat" / name).write_bytes(encoded(picture()))
    with pytest.raises(DataError, match=rf"cat/{name}: expected a name such as cat/cat3-elephant1.png"):
        CueConflict(path=str(root), partial=True).index()
