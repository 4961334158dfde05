"""timm: and torchvision: models: identity without torch, construction, messages."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from robobench.errors import BadSpec, ModelError, RobobenchError, UnknownName
from robobench.models import hub, runtime
from robobench.registry import models
from robobench.specs import Spec, parse_spec
from robobench.types import ImageBatch, View

TINY = "timm:resnet18?pretrained=false&num_classes=5"


def who(text: str):
    spec = parse_spec(text)
    return models.build(spec.source).identify(spec, allow_code=False)


def load(text: str):
    return models.build(parse_spec(text).source).load(who(text), "cpu")


def test_identity_needs_no_torch_and_no_network():
    code = (
        "import sys\n"
        "from robobench.registry import models\n"
        "from robobench.specs import parse_spec\n"
        "for t in ('timm:resnet18', 'torchvision:resnet18', 'zoo:vit'):\n"
        "    s = parse_spec(t); models.build(s.source).identify(s, allow_code=False)\n"
        "assert not {'torch', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_identity_is_the_spec_the_library_and_the_checkpoints_content(tmp_path, monkeypatch):
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    one.write_bytes(b"1")
    two.write_bytes(b"1")
    base = who(TINY).digest
    assert who("timm:resnet18?num_classes=5&pretrained=false").digest == base
    with_file = who(f"timm:resnet18?checkpoint={one}").digest
    assert who(f"timm:resnet18?checkpoint={two}").digest == with_file
    two.write_bytes(b"2")
    different = {
        base,
        with_file,
        who(f"timm:resnet18?checkpoint={two}").digest,
        who("timm:resnet18?pretrained=false&num_classes=6").digest,
        who("timm:resnet34?pretrained=false&num_classes=5").digest,
        who("torchvision:resnet18?weights=none&num_classes=5").digest,
    }
    monkeypatch.setattr("robobench.models.timm.version", lambda _: "0.0.1")
    different.add(who(TINY).digest)
    assert len(different) == 7


def test_names_show_no_folder(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"1")
    found = who(f"timm:resnet18?checkpoint={tmp_path}/w.pt")
    assert found.name == "timm:resnet18?checkpoint=w.pt"
    assert str(tmp_path) in found.spec


def test_a_checkpoint_with_an_odd_name_is_found_again(tmp_path):
    path = tmp_path / "a&b=c%41+d e?.safetensors"
    made = load(TINY)
    save_file(made.module.state_dict(), path)
    spec = Spec("timm", "resnet18", {"num_classes": "5", "checkpoint": str(path)})
    source = models.build("timm")
    known = source.identify(spec)
    assert parse_spec(known.spec) == spec
    assert source.load(known, "cpu").card.weights == made.card.weights


@pytest.mark.parametrize(
    "name",
    [
        "../resnet18",
        "a/b",
        "hf-hub:timm/x",
        "local-dir:x",
        "/etc/passwd",
        "..",
        "a..b",
        ".hidden",
        "a\\b",
        "a b",
    ],
)
@pytest.mark.parametrize("source", ["timm", "torchvision", "zoo"])
def test_a_name_that_could_lead_elsewhere_is_refused(source, name):
    with pytest.raises(BadSpec, match=rf"{source}: .* is not a model name"):
        who(f"{source}:{name}")


def test_control_characters_are_refused():
    with pytest.raises(BadSpec, match="no control characters"):
        who("timm:resnet18\n")
    with pytest.raises(BadSpec, match="is not a model name"):
        who("timm:resnet18%0a")


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"])
def test_parameters_of_timm_that_name_files_are_refused(name):
    with pytest.raises(BadSpec, match=rf"'{name}' cannot be given here; for weights use \?checkpoint=PATH"):
        who(f"timm:resnet18?{name}=/tmp/x")


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("timm:resnet18?pretrained=maybe", BadSpec, r"pretrained: expected true or false, got 'maybe'"),
        (
            "timm:resnet18?checkpoint=no.pt",
            ModelError,
            r"checkpoint: no file 'no.pt'; expected a .safetensors",
        ),
        ("timm:resnet18?pretrained=true&checkpoint=x", BadSpec, r"exclude each other; give one of them"),
        ("torchvision:resnet18?weights=V1&checkpoint=x", BadSpec, r"exclude each other; give one of them"),
        (
            "timm:resnett18?pretrained=false",
            UnknownName,
            r"timm has no model 'resnett18'; did you mean 'resnet18'",
        ),
        ("timm:resnet18.a9_in1k", UnknownName, r"timm has no weights 'resnet18.a9_in1k'; did you mean"),
        ("timm:resnet18?pretrained=false&wide=3", ModelError, r"timm cannot build it: TypeError: .*'wide'"),
        (
            "torchvision:resnett18",
            UnknownName,
            r"no classification model 'resnett18'; did you mean 'resnet18'",
        ),
        ("torchvision:raft_large", UnknownName, r"torchvision has no classification model 'raft_large'"),
        (
            "torchvision:resnet50?weights=IMAGENET1K_V3",
            UnknownName,
            r"has no weights 'IMAGENET1K_V3'; did you mean 'IMAGENET1K_V",
        ),
        ("torchvision:resnet18?weights=none&wide=3", ModelError, r"torchvision cannot build it: .*'wide'"),
    ],
)
def test_messages(text, kind, said):
    with pytest.raises(kind, match=said):
        load(text)


@pytest.mark.parametrize("text", [TINY, "torchvision:resnet18?weights=none&num_classes=5"])
def test_random_weights_are_the_same_every_time(text):
    torch.manual_seed(1)
    one = load(text)
    torch.manual_seed(2)
    two = load(text)
    assert one.card.weights == two.card.weights
    assert one.outputs == 5
    assert load(text.replace("=5", "=6")).card.weights != one.card.weights
    batch = ImageBatch(torch.rand(2, 3, 64, 64), ("a", "b"), torch.zeros(2, dtype=torch.int64))
    assert torch.equal(one(batch), two(batch))
    assert one(batch).shape == (2, 5)
    one.check_frozen()


def test_parameters_are_typed_and_the_view_follows_the_size():
    h = load("timm:vit_tiny_patch16_224?pretrained=false&num_classes=7&img_size=32&depth=1&qkv_bias=false")
    assert len(h.module.blocks) == 1
    assert h.module.blocks[0].attn.qkv.bias is None
    assert (h.outputs, h.card.input_size, h.card.family) == (7, 32, "vit")
    assert h.card.view == View(resize=35, crop=32, interpolation="bicubic")
    h.raw(torch.rand(1, 3, 40, 40))
    assert h.resized == {(40, 40)}


@pytest.mark.parametrize("source", ["timm", "torchvision"])
def test_a_checkpoint_replaces_the_weights_and_has_to_fit(tmp_path, source):
    free = "pretrained=false" if source == "timm" else "weights=none"
    made = load(f"{source}:resnet18?{free}&num_classes=5")
    path = tmp_path / "w.safetensors"
    save_file(made.module.state_dict(), path)
    assert load(f"{source}:resnet18?num_classes=5&checkpoint={path}").card.weights == made.card.weights
    with pytest.raises(
        ModelError, match=r"w.safetensors: .* of another shape: fc.bias \(5,\) where .* \(6,\)"
    ):
        load(f"{source}:resnet18?num_classes=6&checkpoint={path}")


def test_a_checkpoint_that_changed_since_it_was_identified(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"1")
    text = f"timm:resnet18?checkpoint={path}"
    known = who(text)
    path.write_bytes(b"2")
    with pytest.raises(ModelError, match="checkpoint changed while this run was going on"):
        models.build("timm").load(known, "cpu")


def test_the_user_names_the_family():
    from dataclasses import replace

    source = models.build("timm")
    assert source.load(replace(who(TINY), family="other"), "cpu").card.family == "other"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", "huggingface.co"),
        ("torchvision:resnet18", "download.pytorch.org"),
    ],
)
@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_pretrained_weights_say_what_to_do_at_once(
    text, host, offline, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        load(text)
    assert time.monotonic() - start < 15
    said = str(caught.value)
    assert f"{text}: its pretrained weights are not cached here and {host} cannot be reached" in said
    assert ("HF_HUB_OFFLINE is set" in said) == (offline and text.startswith("timm"))
    for remedy in ("?pretrained=false", "?weights=none", "?checkpoint=PATH", "HF_HOME", "TORCH_HOME"):
        assert remedy in said


def test_cached_pretrained_weights_load_without_a_network(tmp_path, monkeypatch):
    name = "resnet18.a1_in1k"
    made = load("timm:resnet18?pretrained=false")
    path = tmp_path / "model.safetensors"
    save_file(made.module.state_dict(), path)
    asked = []

    def cached(repository, file, revision=None):
        asked.append((repository, file))
        return str(path)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    assert load(f"timm:{name}").card.weights == made.card.weights
    assert asked == [(f"timm/{name}", "model.safetensors")]


def test_a_connection_that_breaks_during_the_download_is_told_the_same_way():
    def downloads():
        with hub.fetching("timm:x", "https://hub.example/a"):
            try:
                raise ConnectionResetError("mid-way")
            except ConnectionResetError as error:
                raise RuntimeError("wrapped") from error

    with pytest.raises(
        ModelError, match=r"timm:x: .* hub.example cannot be reached \(ConnectionResetError: mid"
    ):
        downloads()
    with pytest.raises(KeyError), hub.fetching("timm:x", "https://hub.example/a"):
        raise KeyError("something else")


def test_reachable_asks_the_server_or_the_proxy(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert hub.reachable(f"http://127.0.0.1:{port}/x")
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert hub.reachable("https://nowhere.invalid")
    assert not hub.reachable("https://nowhere.invalid")
    assert not hub.reachable(f"http://127.0.0.1:{port}/x")


def test_torch_and_torchvision_that_do_not_fit_are_named_with_the_mend(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    versions = {"torch": "2.15.0+cpu", "torchvision": "0.29.2", "timm": "1.0.31"}
    monkeypatch.setattr(runtime, "version", versions.__getitem__)
    monkeypatch.setattr(runtime.importlib, "import_module", broken)
    for load_it in (runtime.import_timm, runtime.import_torchvision):
        with pytest.raises(ModelError) as caught:
            load_it()
        said = str(caught.value)
        assert "torch 2.15.0+cpu and torchvision 0.29.2 do not fit together" in said
        assert "operator torchvision::nms does not exist" in said
        assert "pip install --upgrade torch torchvision timm" in said
        assert "--index-url" in said
        assert isinstance(caught.value, RobobenchError)


def test_another_failed_import_is_told_with_versions(monkeypatch):
    def broken(name):
        raise ImportError("No module named 'timm'")

    monkeypatch.setattr(runtime.importlib, "import_module", broken)
    with pytest.raises(
        ModelError, match=r"timm cannot be imported \(ImportError: No module.*; found torch \d"
    ):
        runtime.import_timm()


def test_names_can_be_listed():
    assert "resnet18" in models.build("timm").list_names("resnet1?")
    assert all("." in n for n in models.build("timm").list_names("resnet18.*"))
    assert models.build("torchvision").list_names("resnet1*") == ("resnet101", "resnet152", "resnet18")
    assert models.build("zoo").list_names("*") == ("vit", "hybrid", "resnet", "mixer", "cnn-robust")
