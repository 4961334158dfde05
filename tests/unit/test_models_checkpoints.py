"""Weights from files: everything fits or nothing is loaded, and nothing in a file is run."""

from __future__ import annotations

import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robobench.errors import ModelError
from robobench.models.checkpoints import load_checkpoint, read_checkpoint


def network(wide: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, wide), nn.BatchNorm1d(wide))


def same(module: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    "form", ["safetensors", "plain", "state_dict", "model", "module.", "_orig_mod.module."]
)
def test_every_accepted_form_gives_the_same_weights(tmp_path, form):
    state = network().state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form.endswith("."):
        torch.save({"state_dict": {form + k: v for k, v in state.items()}, "epoch": 3}, path)
    else:
        torch.save(state if form == "plain" else {form: state, "epoch": 3, "lr": 0.1}, path)
    module = network()
    assert not same(module, state)
    load_checkpoint(module, path)
    assert same(module, state)


def test_state_dict_goes_before_model(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "state_dict": {"b": torch.ones(1)}}, tmp_path / "w.pt")
    assert list(read_checkpoint(tmp_path / "w.pt")) == ["b"]


def test_a_prefix_of_some_names_is_a_name(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "w.pt")
    assert list(read_checkpoint(tmp_path / "w.pt")) == ["module.a", "b"]


def test_missing_unexpected_and_misshapen_are_listed_and_nothing_is_loaded(tmp_path):
    state = network(4).state_dict()
    del state["1.running_var"]
    state["head.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    module = network()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_checkpoint(module, tmp_path / "w.pt")
    said = str(caught.value)
    assert said.startswith("w.pt: the checkpoint does not fit Sequential: missing: 1.running_var; ")
    assert "unexpected: head.extra" in said
    assert "of another shape: 0.bias (4,) where the model has (3,), 0.weight (4, 2)" in said
    assert "num_classes" in said
    assert same(module, before)


def test_long_lists_are_cut(tmp_path):
    torch.save({f"k{n:02d}": torch.zeros(1) for n in range(12)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"unexpected: k00, .*, k07 and 4 more"):
        load_checkpoint(network(), tmp_path / "w.pt")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["pickle", "torch", "old torch"])
@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".safetensors"])
def test_a_pickle_with_code_is_refused_and_never_run(tmp_path, writer, suffix):
    mark = tmp_path / "it-ran"
    path = tmp_path / f"w{suffix}"
    state = {"state_dict": network().state_dict(), "extra": Evil(mark)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"a": 1, "extra": Evil(mark)}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=writer == "torch")
    said = (
        r"not a readable safetensors file"
        if suffix == ".safetensors"
        else r"refused, because this pickle holds more than tensors .*safetensors.torch.save_file"
    )
    with pytest.raises(ModelError, match=said):
        load_checkpoint(network(), path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Evil(mark)))  # noqa: S301  (the test can fail: unpickling would have made it)
    assert mark.exists()


def test_the_message_names_the_object_and_never_advises_to_switch_the_check_off(tmp_path):
    torch.save({"state_dict": network().state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(network(), tmp_path / "w.pt")
    assert "argparse.Namespace" in str(caught.value)
    assert "weights_only=False" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04", b"PK\x03\x04 broken"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_file_that_is_no_checkpoint(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: (not a readable|refused)"):
        load_checkpoint(network(), tmp_path / name)


def test_a_whole_module_or_a_list_is_not_a_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ModelError, match=r"list.pt: expected a mapping from names to tensors, got list"):
        read_checkpoint(tmp_path / "list.pt")
    torch.save({"net": network().state_dict(), "epoch": 1}, tmp_path / "net.pt")
    with pytest.raises(
        ModelError, match=r"net.pt: expected tensors by name.*these entries are none: epoch, net"
    ):
        read_checkpoint(tmp_path / "net.pt")
    torch.save({}, tmp_path / "empty.pt")
    with pytest.raises(ModelError, match=r"empty.pt: .*it is empty"):
        read_checkpoint(tmp_path / "empty.pt")
