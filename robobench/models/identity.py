"""Who a model is, told from its SPEC alone: no torch, no network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from robobench.errors import BadSpec, ModelError
from robobench.keys import digest, file_digest
from robobench.specs import Spec, public_path
from robobench.types import ModelId

CHECKPOINT = "checkpoint"
_PLAIN = "/:,+ ~@()"  # beside letters, digits and _.-
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


def model_name(spec: Spec) -> str:
    """The architecture a SPEC asks for. Raises BadSpec for what could be a path or a scheme."""
    if not _NAME.match(spec.path) or ".." in spec.path:
        raise BadSpec(
            f"{spec.source}: {spec.path!r} is not a model name: expected letters, digits, '_', '-' and "
            f"single dots, such as {spec.source}:resnet50; a file of weights goes into ?checkpoint=PATH"
        )
    return spec.path


def checkpoint_path(spec: Spec) -> Path | None:
    """The file of `?checkpoint=`, None without one. Raises ModelError when it is not a file."""
    text = spec.params.get(CHECKPOINT)
    if text is None:
        return None
    path = Path(text).expanduser()
    if not path.is_file():
        raise ModelError(f"{shown(spec)}: checkpoint: no file {text!r}; expected a .safetensors or .pt file")
    return path


def shown(spec: Spec) -> str:
    """A SPEC as tables show it: files by their name alone, so that no folder is published."""
    params = {k: Path(v).name if k == CHECKPOINT else public_path(v) for k, v in spec.params.items()}
    path = Path(spec.path).name if spec.source == "python" else spec.path
    text = str(Spec(spec.source, path, params))
    return text.removeprefix("python:")


def identity(spec: Spec, *parts: object) -> ModelId:
    """The ModelId of a SPEC. `parts` are the digests and versions of what the answers depend on.

    A checkpoint counts by its content, wherever it lies.
    """
    path = checkpoint_path(spec)
    content = {CHECKPOINT: file_digest(path)} if path else {}
    params: Mapping[str, str] = {**spec.params, **content}
    where = "" if spec.source == "python" else spec.path
    return ModelId(shown(spec), _text(spec), digest("model", spec.source, where, params, list(parts)))


def _text(spec: Spec) -> str:
    """A SPEC that `parse_spec` reads back as the same one, also with `%`, `&` or `?` in a file's name."""
    path = quote(spec.path, safe=_PLAIN)
    query = "&".join(f"{k}={quote(v, safe=_PLAIN)}" for k, v in sorted(spec.params.items()))
    return f"{spec.source}:{path}" + (f"?{query}" if query else "")


def unchanged(model: ModelId, now: ModelId) -> None:
    """Raise ModelError when a file behind a model was changed after the model was identified."""
    if model.digest != now.digest:
        raise ModelError(
            f"{model.name}: its file or checkpoint changed while this run was going on "
            f"(identity {model.digest}, now {now.digest}); start the run again"
        )
