"""Transfer: images crafted to the last step, shown to others, and the matrix counted again by hand from the rows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from robobench.engine.crafting import Crafting, whole_lots
from robobench.engine.frames import batches, open_frames
from robobench.engine.record import from_json, record_of, to_json
from robobench.engine.resolve import ResolvedModel, cells, resolve
from robobench.errors import BadParameter, DataError, ModelError, SuiteError
from robobench.leaderboard.build import build
from robobench.leaderboard.collect import collect
from robobench.leaderboard.matrix import heat_map, matrices
from robobench.leaderboard.render import render
from robobench.leaderboard.render_json import from_json as board_from_json
from robobench.registry import attacks, metrics, perturbations
from robobench.stats import wilson
from robobench.store import Store
from robobench.suite.load import parse_suite
from robobench.types import ImageBatch, ModelId, View
from tests.bench import HEAD, carry_out
from tests.fakes import conv_model, linear_model, make_batch, make_draws, run_stepped

SIDE = 28
RATES = "metrics: [accuracy.top1, transfer.fooling_rate, transfer.success_rate]\n"


def crafted(attack: str, params: Mapping[str, Any], model, parts, lot: int = 4):
    make = Crafting(attacks.build(attack, params), lot)
    return make(model, parts, make_draws(parts[0], attack))


@pytest.mark.parametrize(
    ("attack", "params"),
    [
        ("gradient.pgd", {"eps": "32/255", "steps": 5}),
        ("gradient.pgd", {"eps": 2.0, "norm": "l2", "steps": 4}),
        ("gradient.mi_fgsm", {"eps": "64/255", "steps": 4}),
        ("gradient.fgsm", {"eps": "48/255"}),
        ("blackbox.square", {"eps": "32/255", "queries": 12}),
    ],
)
def test_every_image_makes_every_step_whether_or_not_it_has_fallen(attack, params):
    """The plainest loop over the whole batch ends at the same pixels; some of its images fell on the way."""
    batch, model = make_batch(7, 16), conv_model()
    found = crafted(attack, params, model, [batch.select(range(4)), batch.select(range(4, 7))])
    plain = run_stepped(attacks.build(attack, params), model, batch, make_draws(batch, attack))
    torch.testing.assert_close(found["crafted"], plain, atol=1e-6, rtol=0)
    with torch.no_grad():
        wrong = model(batch.with_pixels(found["crafted"])).argmax(1) != batch.labels
    assert found["fooled"].tolist() == wrong.float().tolist()
    assert wrong.any()


def test_an_attack_that_stops_would_have_ended_elsewhere():
    from robobench.engine.assault import run_attack
    from robobench.engine.lots import predict
    from robobench.tasks.classification import Classification

    attack = attacks.build("gradient.mi_fgsm", {"eps": "64/255", "steps": 6})
    batch, model = make_batch(8, 16), conv_model()
    clean = predict(model, batch, range(8), 4)
    batch = ImageBatch(batch.pixels, batch.ids, clean.argmax(1))
    draws = make_draws(batch, "gradient.mi_fgsm")
    stopped = run_attack(attack, model, batch, clean, range(8), draws, 4, Classification())
    on = crafted("gradient.mi_fgsm", {"eps": "64/255", "steps": 6}, model, [batch])["crafted"]
    fell = stopped.fell.numpy()
    assert fell.any()
    assert all(not torch.equal(stopped.pixels[i], on[i]) for i in np.flatnonzero(fell))


def test_forward_passes_have_one_shape_and_their_number_is_known():
    model, batch = conv_model(), make_batch(6, 16)
    crafted(
        "gradient.pgd", {"eps": "8/255", "steps": 3}, model, [batch.select(range(4)), batch.select([4, 5])]
    )
    assert set(model.calls) == {4}
    assert len(model.calls) <= 2 * (1 + 3 + 1 + 1)


def test_a_later_start_counts_only_when_the_first_did_not_fool():
    batch, model = make_batch(6, 16), conv_model()
    found = crafted("gradient.pgd", {"eps": "20/255", "steps": 2, "restarts": 3}, model, [batch], lot=6)
    attack = attacks.build("gradient.pgd", {"eps": "20/255", "steps": 2})
    draws = make_draws(batch, "gradient.pgd")
    tries = [run_stepped(attack, model, batch, draws.at(r), restart=r) for r in range(3)]
    with torch.no_grad():
        wrong = [model(batch.with_pixels(t)).argmax(1) != batch.labels for t in tries]
    for i in range(6):
        best = next((r for r in range(3) if wrong[r][i]), 0)
        torch.testing.assert_close(found["crafted"][i], tries[best][i], atol=1e-6, rtol=0)


def test_an_ensemble_crafts_with_its_stages_on_those_that_still_stand():
    @dataclass(frozen=True)
    class Two:
        norm: ClassVar[str] = "linf"
        nested: ClassVar[None] = None
        eps: float = 0.2
        cost: int = 8

        def stages(self, classes):
            return [attacks.build("gradient.fgsm", {"eps": e}) for e in (0.02, 0.2)]

    batch, model = make_batch(8, 16), conv_model()
    found = Crafting(Two(), 8)(model, [batch], make_draws(batch, "two"))
    small, large = (crafted("gradient.fgsm", {"eps": e}, model, [batch], lot=8) for e in (0.02, 0.2))
    down = small["fooled"].bool()
    assert down.any()
    assert not down.all()
    for i in range(8):
        expected = small if down[i] or not large["fooled"][i] else large
        torch.testing.assert_close(found["crafted"][i], expected["crafted"][i])


def test_no_images_and_no_model():
    make = Crafting(attacks.build("gradient.fgsm", {"eps": "8/255"}), 4)
    assert len(make(conv_model(), [], make_draws(make_batch()))["crafted"]) == 0
    with pytest.raises(ModelError, match="needs a model"):
        make(None, [make_batch()], make_draws(make_batch()))


def test_whole_lots_hold_the_company_of_the_wanted():
    order = [str(n) for n in range(10)]
    assert whole_lots(order, ["5"], 4) == ["4", "5", "6", "7"]
    assert whole_lots(order, ["9", "0"], 4) == ["0", "1", "2", "3", "8", "9"]
    assert whole_lots(order, [], 4) == []


# Showing


def test_show_replaces_the_pixels_and_says_whether_the_source_was_fooled():
    batch, other = make_batch(3, 8), make_batch(3, 8, seed=1)
    fooled = torch.tensor([1.0, 0.0, 1.0])
    given = ImageBatch(batch.pixels, batch.ids, batch.labels, {"crafted": other.pixels, "fooled": fooled})
    shown = perturbations.build("transfer.show")(given, make_draws(batch))
    assert torch.equal(shown.pixels, other.pixels)
    assert torch.equal(shown.facts["source_fooled"], fooled)


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        (None, BadParameter, "got none; name an attack"),
        (torch.zeros(3, 3, 4, 4), BadParameter, r"got \(3, 3, 4, 4\)"),
        (torch.full((3, 3, 8, 8), 1.5), DataError, r"crafted images in \[1.5, 1.5\], expected \[0, 1\]"),
        (torch.full((3, 3, 8, 8), torch.nan), DataError, "expected"),
    ],
)
def test_show_says_what_it_cannot_show(pixels, error, message):
    batch = make_batch(3, 8)
    inputs = {} if pixels is None else {"crafted": pixels, "fooled": torch.zeros(3)}
    given = ImageBatch(batch.pixels, batch.ids, batch.labels, inputs)
    with pytest.raises(error, match=message):
        perturbations.build("transfer.show")(given, make_draws(batch))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("{use: gradient.pgd, with: {eps: 1/255}}", 6, "gradient.pgd needs a model: add `model: self`"),
        ("{use: gradient.pgdd, model: self}", 6, "unknown preparation 'gradient.pgdd'"),
        ("{use: gradient.pgd, model: self, with: {eps: 8}}", 6, "did you mean 8/255"),
        ("{use: gradient.pgd, model: self, with: {eps: 8/255, stepz: 3}}", 6, "unknown parameter 'stepz'"),
        ("{use: gradient.pgd, model: self, with: {eps: 8/255}, limit: 9}", 6, "takes no `data`, `skip` or"),
    ],
)
def test_an_attack_as_a_preparation_is_checked_like_one(text, line, message):
    with pytest.raises(SuiteError) as caught:
        parse_suite(f"{HEAD}preparations:\n  p: {text}\n", "t.yaml")
    assert str(caught.value).startswith(f"t.yaml:{line}: "), str(caught.value)
    assert message in str(caught.value)


# A run, and its matrix


def model(name: str, made) -> ResolvedModel:
    return ResolvedModel(ModelId(name, f"fake:{name}", f"digest-{name}"), lambda _: made)


CNN, MLP, THIRD = conv_model(10), linear_model(10, SIDE), conv_model(10, seed=3)
MODELS = {"cnn": CNN, "mlp": MLP, "third": THIRD}
ATTACK = "use: gradient.mi_fgsm, with: {eps: 48/255, steps: 3}"
SUITE = f"""{RATES}lot: 8
preparations:
  a: {{{ATTACK}, model: "zoo:vit"}}
  b: {{{ATTACK}, model: "zoo:resnet"}}
  own: {{{ATTACK}, model: self}}
conditions:
  - {{use: transfer.show, name: from cnn, inputs: {{crafted: a, fooled: a}}}}
  - {{use: transfer.show, name: from mlp, inputs: {{crafted: b, fooled: b}}, limit: 16}}
  - {{use: transfer.show, name: from itself, inputs: {{crafted: own, fooled: own}}}}
"""


def suite_run(text: str = SUITE, limit: int = 24):
    """The suite with fakes in the place of the named sources: two of them are targets too, under other names."""
    targets = [model(n, m) for n, m in MODELS.items()]
    found = resolve(parse_suite(HEAD + text, "t.yaml"), targets, limit=limit)
    helpers = {"zoo:vit": model("a cnn", CNN), "zoo:resnet": model("a mlp", MLP)}
    same = {"zoo:vit": "digest-cnn", "zoo:resnet": "digest-mlp"}
    named = {
        spec: replace(m, id=replace(m.id, digest=same[spec])) for spec, m in helpers.items() if spec in found.helpers
    }  # fmt: skip
    return replace(found, helpers=named)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("transfer")
    found = suite_run()
    assert not carry_out(found, root).failures
    return found, root, build(collect(record_of(found, "test"), Store.open(root)))


def by_image(found, root, who: str, condition: str) -> pd.DataFrame:
    """The rows of a cell by image: equal cells of several conditions are kept once, under one's name."""
    cell = next(c for c in cells(found) if c.model.name == who and c.condition.name == condition)
    frame = Store.open(root).rows([cell.key])[cell.key].to_pandas().set_index("image_id")
    return frame[frame.index.isin(found.ids(cell.condition))]


def test_a_target_sees_the_pixels_that_were_crafted_against_the_source(done):
    found, root, _ = done
    data = found.data["base"]
    parts = list(batches(open_frames(data, View(), None), data.ids, data.labels, 8, "cpu"))
    whole = ImageBatch(torch.cat([p.pixels for p in parts]), data.ids, torch.cat([p.labels for p in parts]))
    attack = attacks.build("gradient.mi_fgsm", {"eps": "48/255", "steps": 3})
    for source, condition in (("cnn", "from cnn"), ("third", "from itself")):
        made = run_stepped(attack, MODELS[source], whole, make_draws(whole, "gradient.mi_fgsm"))
        for target in MODELS if source == "cnn" else ("third",):
            with torch.no_grad():
                answers = MODELS[target](whole.with_pixels(made)).argmax(1).tolist()
                wrong = (MODELS[source](whole.with_pixels(made)).argmax(1) != whole.labels).float().tolist()
            mine = by_image(found, root, target, condition)
            assert mine.top1.to_dict() == dict(zip(whole.ids, answers, strict=True))
            assert mine.x_source_fooled.to_dict() == dict(zip(whole.ids, wrong, strict=True))


def test_crafted_images_are_made_once_for_all_targets(done):
    found, root, _ = done
    made = {e.name: {found.preparation_key(e, m.id, found.data["base"]) for m in found.models}
            for e in found.suite.preparations}  # fmt: skip
    assert [len(keys) for keys in made.values()] == [1, 1, 3]
    assert made["a"] <= made["own"], "the source's own crafted images are those that others are shown"
    held = [path.name for path in (root / "preparations").iterdir()]
    assert sorted(held) == sorted(set().union(*made.values()))


def test_the_matrix_is_what_is_counted_by_hand_from_the_rows(done):
    resolved, root, board = done
    found = matrices(board)
    assert [(m.rate, m.title) for m in found] == [
        (rate, "gradient.mi_fgsm v1 (eps: 48/255, steps: 3)")
        for rate in ("transfer.fooling_rate", "transfer.success_rate")
    ]
    seen = set()
    for matrix in found:
        assert matrix.sources == ("cnn", "mlp"), "a source that is a target is called as the board calls it"
        assert matrix.targets == ("cnn", "mlp", "third")
        for i, source in enumerate(matrix.sources):
            for j, target in enumerate(matrix.targets):
                clean, after = (
                    by_image(resolved, root, target, name) for name in ("clean", f"from {source}")
                )
                count = total = 0
                for image, row in after.iterrows():
                    before = clean.loc[image]
                    if matrix.rate.endswith("fooling_rate"):
                        total += 1
                        count += int(row.top1 != before.top1)
                    elif before.top1 == before.label:
                        total += 1
                        count += int(row.top1 != row.label)
                score = matrix.score(i, j)
                assert score.n == total
                assert score.value == pytest.approx(count / total) if total else np.isnan(score.value)
                if total:
                    low, high = wilson(count, total)
                    assert (score.low, score.high) == (pytest.approx(float(low)), pytest.approx(float(high)))
                assert matrix.own(i, j) == (source == target)
                seen.add((matrix.rate, total))
    assert len(seen) > 3, "the two rates have different images behind them"


def test_clean_images_fool_nobody(done):
    _, _, board = done
    for entry in board.entries:
        for rate in ("transfer.fooling_rate", "transfer.success_rate"):
            assert (
                entry.cells["clean"].score(rate).value in (0.0, pytest.approx(0.0))
                or not entry.cells["clean"].score(rate).n
            )
        assert entry.cells["clean"].score("transfer.fooling_rate").n == 24
        assert entry.cells["from mlp"].score("transfer.fooling_rate").n == 16


def test_every_format_has_the_matrix(done):
    _, _, board = done
    matrix = matrices(board)[0]
    values = [f"{100 * matrix.score(i, j).value:.1f}" for i in range(2) for j in range(3)]
    drawn = re.findall(r'text-anchor="middle">([\d.]+)</text></g>', heat_map(matrix))
    assert drawn == values
    page, text = render(board, "html"), render(board, "markdown")
    assert heat_map(matrix) in page
    part = text[text.index("transfer.fooling\\_rate (%)") :]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:3]
    assert [cell.split()[0] for line in lines for cell in line.strip("| ").split(" | ")[1:]] == values
    table = [r for r in csv.DictReader(io.StringIO(render(board, "csv"))) if r["source"]]
    pivot = {(r["source"], r["model"]): float(r["value"]) for r in table if r["metric"] == matrix.rate}
    assert [pivot[s, t] for s in matrix.sources for t in matrix.targets] == [
        matrix.score(i, j).value for i in range(2) for j in range(3)
    ]
    again = board_from_json(render(board, "json"))
    assert [m.title for m in matrices(again)] == [m.title for m in matrices(board)]
    assert heat_map(matrices(again)[0]) == heat_map(matrix)


def test_the_command_line_prints_it(done, capsys):
    from robobench.cli.table import board_table

    _, _, board = done
    board_table(board)
    out = capsys.readouterr().out
    for matrix in matrices(board):
        assert f"{matrix.rate} (%): {matrix.title}" in out
        for i, source in enumerate(matrix.sources):
            values = [f"{100 * matrix.score(i, j).value:.1f}".replace("nan", "–") for j in range(3)]
            assert re.search(rf"^{source} +{' +'.join(values)} *$", out, re.M), out


def test_a_board_without_rates_or_sources_has_no_matrix(done):
    _, _, board = done
    assert matrices(replace(board, suite=replace(board.suite, metrics=("accuracy.top1",)))) == ()
    bare = [replace(la, levels=tuple(replace(v, source=None) for v in la.levels)) for la in board.ladders]
    assert matrices(replace(board, ladders=tuple(bare))) == ()
    old = json.loads(render(board, "json"))
    for ladder in old["ladders"]:
        for level in ladder["levels"]:
            del level["source"]
    assert matrices(board_from_json(json.dumps(old))) == ()


def test_a_missing_cell_is_a_dash_and_no_zero(done):
    _, _, board = done
    entry = board.entries[0]
    lost = replace(entry, cells={n: c for n, c in entry.cells.items() if n != "from cnn"})
    matrix = matrices(replace(board, entries=(lost, *board.entries[1:])))[0]
    j = matrix.targets.index(entry.name)
    assert matrix.text(0, j) == "–"
    assert "undefined" in heat_map(matrix)


def test_names_from_outside_are_only_text(done):
    _, _, board = done
    hostile = '<script>"x"</script>'
    matrix = replace(matrices(board)[0], targets=("cnn", hostile, "third"), title=hostile)
    assert "<script" not in heat_map(matrix)


def test_the_record_keeps_its_sources_and_older_ones_have_none(done):
    found, _, _ = done
    record = record_of(found, "test")
    assert set(record.sources) == {"from cnn", "from mlp"}
    assert from_json(json.loads(json.dumps(to_json(record)))).sources == record.sources
    old = {k: v for k, v in to_json(record).items() if k != "sources"}
    assert from_json(json.loads(json.dumps(old))).sources == {}


def test_keys_follow_the_source_and_the_attack_and_not_the_limit():
    def key(text: str = SUITE, limit: int = 24):
        found = suite_run(text, limit)
        return {c.condition.name: c.key for c in cells(found) if c.model.name == "third"}["from cnn"]

    assert key() == key(limit=10)
    assert key() != key(SUITE.replace("steps: 3", "steps: 4"))
    assert key() != key(SUITE.replace("lot: 8", "lot: 4"))
    assert key() == key(SUITE.replace("48/255, steps: 3", "0.18823529411764706, steps: 3, decay: 1.0"))


def test_an_attack_whose_lots_matter_gives_the_same_images_whatever_the_limit(tmp_path):
    text = SUITE.replace(
        ATTACK, "use: torchattacks.any, with: {attack: PGD, params: {eps: 48/255, steps: 2}}"
    )
    for limit, root in ((5, "five"), (24, "all")):
        assert not carry_out(suite_run(text, limit), tmp_path / root).failures
    for who in MODELS:
        one, two = (
            by_image(suite_run(text, limit), tmp_path / root, who, "from cnn")[["top1", "logp_label"]]
            for limit, root in ((5, "five"), (24, "all"))
        )
        assert (len(one), len(two)) == (5, 24)
        pd.testing.assert_frame_equal(one, two.loc[one.index], atol=1e-5, rtol=0)


# The two rates


def test_the_rates_differ_where_wrong_answers_change():
    rows_ = {
        "top1": np.array([7, 2, 4, 7, 1, -1]),
        "clean_top1": np.array([7.0, 7, 1, 1, np.nan, 3]),
        "hit": np.array([0, 1, 2, 0, 0, -1]),
        "clean_hit": np.array([0.0, 0, 3, 2, np.nan, 0]),
    }
    fooling = metrics.build("transfer.fooling_rate")(rows_)
    success = metrics.build("transfer.success_rate")(rows_)
    np.testing.assert_array_equal(fooling, [0, 1, 1, 1, np.nan, 1])
    np.testing.assert_array_equal(success, [0, 1, np.nan, np.nan, np.nan, 1])
