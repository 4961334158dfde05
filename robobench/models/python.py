"""Models from the user's own code: `path/file.py:factory?key=value` or `package.module:factory?...`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from robobench.errors import ModelError, RobobenchError, nearest
from robobench.keys import digest, file_digest
from robobench.models.checkpoints import load_checkpoint
from robobench.models.handle import Described, Handle, loaded, seeded
from robobench.models.identity import CHECKPOINT, checkpoint_path, identity, shown, unchanged
from robobench.models.params import arguments
from robobench.registry import models
from robobench.specs import Spec, parse_spec
from robobench.types import ModelId


@models.register(version=1)
@dataclass(frozen=True)
class Python:
    """A model that a function in the user's code builds.

    SPEC: `path/file.py:factory` or `package.module:factory`, with `?key=value` for the factory's
    parameters, converted by its annotations (int, float, bool, str, Path). The factory returns an
    nn.Module, which then gets RGB pixels in [0, 1] as they are, or a `robobench.models.handle.Described`
    that also names mean, std, family and view. A `checkpoint` that the factory does not take itself is
    loaded into what it returns.

    A file runs as a script would: with its folder first on the import path. The identity is the content
    of that one file with the parameters; a module it imports is not part of it, nor is a file of weights that
    it reads, but every run loads the model and compares its weights' digest with that of earlier rows.
    Random weights are the same every time.

    Raises ModelError for code that was not allowed, is missing or fails (with file and line).
    """

    holds_weights: ClassVar[bool] = False

    def identify(self, spec: Spec, *, allow_code: bool) -> ModelId:
        if not allow_code:
            raise ModelError(
                f"{shown(spec)}: code named in a suite or result file needs --allow-code: loading this "
                f"model runs that file. Read it, then add the option, or name the model with --model"
            )
        file, factory = _located(spec)
        return identity(spec, file_digest(file), factory)

    def load(self, model: ModelId, device: str) -> Handle:
        spec = parse_spec(model.spec, code_source="python")
        unchanged(model, self.identify(spec, allow_code=True))
        file, name = _located(spec)
        with _importable(file.parent if _is_file(spec) else Path.cwd()), seeded(model.digest):
            factory = _factory(_module(spec, file), name, file)
            given, path = _given(factory, spec)
            described = _called(factory, arguments(factory, given, where=shown(spec)), file)
        if path is not None:
            load_checkpoint(described.module, path)
        return loaded(model, described, device)


def _is_file(spec: Spec) -> bool:
    place = spec.path.rpartition(":")[0]
    return place.endswith(".py") or "/" in place


def _located(spec: Spec) -> tuple[Path, str]:
    """The file of the code and the factory's name, found without importing anything."""
    place, _, factory = spec.path.rpartition(":")
    if not place or not factory.isidentifier():
        raise ModelError(f"{spec.path!r}: expected path/file.py:factory or package.module:factory")
    if not _is_file(spec):
        return _module_file(place), factory
    path = Path(place).expanduser()
    if not path.is_file():
        raise ModelError(
            f"{place}: no such file (looked in {'this folder' if not path.is_absolute() else path.parent})"
        )
    return path.resolve(), factory


def _module_file(name: str) -> Path:
    parts = name.split(".")
    if not all(p.isidentifier() for p in parts):
        raise ModelError(f"{name!r} is not the name of a module: expected package.module:factory")
    with _importable(Path.cwd()):
        found = importlib.util.find_spec(parts[0])
    for n in range(2, len(parts) + 1):
        where = found.submodule_search_locations if found else None
        found = PathFinder.find_spec(".".join(parts[:n]), where) if where else None
    if found is None or not found.origin or not Path(found.origin).is_file():
        raise ModelError(f"no module {name!r} in this folder or in the installed packages")
    return Path(found.origin)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Python puts a script's folder first; afterwards the import path is as it was."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before


def _module(spec: Spec, file: Path) -> ModuleType:
    try:
        if not _is_file(spec):
            return importlib.import_module(spec.path.rpartition(":")[0])
        return _run(file)
    except RobobenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{_place(error, file)}: {_said(error)}; the file cannot be imported") from error


def _run(file: Path) -> ModuleType:
    """Run a file as a module under a name of its own, so that it hides no other."""
    name = f"robobench_user_{digest(str(file), file_digest(file))}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise ModelError(f"{file.name}: not a Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _factory(module: ModuleType, name: str, file: Path) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    if found is not None:
        raise ModelError(f"{file.name}: {name!r} is a {type(found).__name__}, not a function")
    own = [k for k, v in vars(module).items() if inspect.isfunction(v) and not k.startswith("_")]
    raise ModelError(f"{file.name} has no function {name!r}; {nearest(name, own)}")


def _given(factory: Callable[..., Any], spec: Spec) -> tuple[dict[str, str], Path | None]:
    """The factory's parameters, and the checkpoint where the factory does not take it itself."""
    given = dict(spec.params)
    path = checkpoint_path(spec)
    if path is None or CHECKPOINT in inspect.signature(factory).parameters:
        return given, None
    del given[CHECKPOINT]
    return given, path


def _called(factory: Callable[..., Any], given: dict[str, Any], file: Path) -> Described:
    from torch import nn

    try:
        made = factory(**given)
    except RobobenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{_place(error, file)}: {_said(error)}; raised while building the model") from error
    if isinstance(made, Described):
        return made
    if isinstance(made, nn.Module):
        return Described(made)
    raise ModelError(
        f"{file.name}: {getattr(factory, '__name__', 'the factory')} returned a {type(made).__name__}; "
        f"expected a torch.nn.Module or a robobench.models.handle.Described"
    )


def _place(error: BaseException, file: Path) -> str:
    """The last line of the user's file that an error passed through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file]
    return f"{file.name}:{frames[-1].lineno}" if frames else file.name


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
