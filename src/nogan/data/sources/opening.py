"""Opens the source that the config means."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nogan.common import targets
from nogan.common.errors import UserError
from nogan.data.sources.arrow import PREPARING, PreparedSource, arrow_folder
from nogan.data.sources.base import Source
from nogan.data.sources.folders import FolderSource, ilsvrc_folder, ilsvrc_root
from nogan.data.sources.hub import BUILT_IN, HUB_IMAGENET, hub_imagenet
from nogan.plan.config import Data


def open_source(
    kind: str = "scenes",
    path: str | Path | None = None,
    *,
    images: int | None = None,
    seed: int = 0,
    hue_cue: float = 0.0,
    setting: str = "data.path",
) -> Source:
    """The source that ``data=kind data.path=path`` means.

    Args:
        kind: "scenes" (built-in, drawn), "folder" or "imagenet".
        path: where the photographs are, unused by scenes. A prepared copy works for both of the others; "imagenet" also
            takes the ILSVRC folders, and "hub" for the hub's :data:`HUB_IMAGENET`.
        images: how many scenes there are.
        seed: of the scenes.
        hue_cue: of the scenes, in [0, 1].
        setting: the config key or flag that names ``path``, for the messages.

    Raises:
        UserError: the photographs are not there.
    """
    if kind == "scenes":
        from nogan.data.scenes import Scenes

        return Scenes(seed, 10_000 if images is None else images, hue_cue)
    if kind not in ("folder", "imagenet"):
        raise UserError(f"data={kind} is not known; expected scenes, folder or imagenet")
    if kind == "imagenet" and path == "hub":
        return hub_imagenet()
    if path is not None and (folder := arrow_folder(path)):
        return PreparedSource(folder, setting)
    if path is not None and (Path(path).expanduser() / PREPARING).is_file():
        raise UserError(f"{setting}={path} is half prepared; finish it: `nogan prepare SRC {path}`")
    if kind == "imagenet":
        found = None if path is None else ilsvrc_folder(path)
        if found is None:
            raise _no_imagenet(path)
        return found
    if path is None:
        raise UserError("data=folder needs to know which: data.path=DIR")
    return FolderSource(path, setting)


def open_photographs(data: Data) -> Source:
    """The source that the ``data`` section means: a built-in one, or the user's own (``data.source``).

    Raises:
        UserError: the photographs are not there, or not as many as ``data.images`` says; the user's source lacks a
            method.
    """
    if data.source is not None:
        return _own_source(data.source)
    source = open_source(data.kind, data.path, images=data.images, seed=data.seed, hue_cue=data.hue_cue)
    if data.kind == "folder" and data.images not in (None, len(source)):
        raise UserError(
            f"data.images={data.images}, but data.path={data.path} holds {len(source)} photographs: leave data.images "
            "out, they are counted"
        )
    return source


def _own_source(section: Mapping[str, Any]) -> Source:
    source = targets.build(section, "data.source", object)
    missing = [name for name in ("__len__", "load") if not callable(getattr(source, name, None))]
    if missing:
        raise UserError(f"data.source: {section[targets.TARGET]} has no {' and no '.join(missing)}; a source has both")
    return source


def open_held_out(data: Data) -> Source | None:
    """The source that ``data.val_path`` means; None where a share of the photographs is held out.

    Raises:
        UserError: the photographs are not there.
    """
    if not data.val_path:
        return None
    _check_apart(data, Path(data.val_path).expanduser())
    return open_source("folder", data.val_path, setting="data.val_path")


def _check_apart(data: Data, val_path: Path) -> None:
    if data.source is not None or data.path in (None, "hub") or data.kind == "scenes":
        return
    assert data.path is not None
    root = arrow_folder(data.path) or (ilsvrc_root(data.path) if data.kind == "imagenet" else None) or Path(data.path)
    train, val = root.expanduser().resolve(), val_path.resolve()
    copies = arrow_folder(train) or arrow_folder(val)  # which hold nothing of the folders in them
    if train == val or (not copies and (train in val.parents or val in train.parents)):
        where = "the same folder as" if train == val else "inside" if train in val.parents else "around"
        raise UserError(
            f"data.val_path={data.val_path} is {where} data.path={data.path}, so what is held out would be trained on: "
            "expected two folders apart, or data.val_share alone"
        )


def _no_imagenet(path: str | Path | None) -> UserError:
    found = "data.path is not set" if path is None else f"nothing of the kind at data.path={path}"
    return UserError(
        f"ImageNet: {found}; looked for a prepared copy, or ILSVRC/Data/CLS-LOC/train/n01440764/*.JPEG, …\n"
        f"point to it: data.path=DIR, or data.path=hub for {HUB_IMAGENET} (gated: accept its terms, `hf auth login`)\n"
        f"or run on the built-in data instead: {BUILT_IN}"
    )
