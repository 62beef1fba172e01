"""Protocols: under what conditions a colorizer is measured. They are ``conf/protocol/NAME.yaml``."""

from collections.abc import Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nogan.colorize.square import PHOTO_RENDER_FACTOR
from nogan.common.errors import UserError
from nogan.common.recipes import recipes

OWN_FACTOR = f"what the file of each says, else {PHOTO_RENDER_FACTOR}"
"""Of a protocol that leaves the render factor to the models, in words."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Published(_Section):
    """Figures that others have published, measured under the protocol that they stand in.

    Attributes:
        name: of the colorizer.
        source: where the figures stand, so that a reader finds them.
        note: what differs from the protocol, or is not said there.
        values: by the key of the measure.
    """

    name: str
    source: str
    note: str = ""
    values: dict[str, float]


class Protocol(_Section):
    """Under what conditions colorizers are measured.

    Attributes:
        title: a few words.
        size: side in px of the square that photographs are brought to; None for their own sizes.
        fit: how: ``stretch``; ``crop`` to the middle square, then resize; ``keep`` their own sizes.
        codec: what outputs went through before they are measured: ``png``, 8 bits a channel without loss, or ``jpeg``.
        quality: of JPEG.
        luma: ``photograph``: outputs of models have the photograph's luma; ``network``: they are as the network made
            them.
        render_factor: of models; None for the one that suits each, where its file says so, else 35.
        inception: network and preprocessing of FID: see :mod:`nogan.evaluation.inception`.
        images: how many photographs, in their order; None for all.
        order: by ``path``, or by ``name``, the file's own whatever its folder.
        published: figures of others.
    """

    title: str
    size: int | None = Field(ge=16, le=4096)
    fit: Literal["keep", "stretch", "crop"]
    codec: Literal["png", "jpeg"]
    quality: int | None = Field(ge=1, le=100)
    luma: Literal["photograph", "network"]
    render_factor: int | Literal["auto"] | None
    inception: Literal["fidelity", "ddcolor", "deoldify"]
    images: int | None = Field(ge=1)
    order: Literal["path", "name"]
    published: tuple[Published, ...]

    def said_in_full(self) -> dict[str, str]:
        """Each of the conditions as a sentence, by its key."""
        square = f"{self.size} x {self.size} px"
        fits = {
            "keep": "each photograph at its own size",
            "stretch": f"stretched to {square}",
            "crop": f"the middle square, resized to {square}",
        }
        codecs = {"png": "8 bits a channel, no loss", "jpeg": f"JPEG of quality {self.quality}, 4:2:0"}
        lumas = {"photograph": "the photograph's own", "network": "the network's"}
        orders = {"path": "their paths", "name": "their file names"}
        return {
            "size": f"{fits[self.fit]} (Pillow, bilinear with antialiasing)" if self.size else fits[self.fit],
            "codec": f"outputs are measured as {codecs[self.codec]}",
            "luma": f"{lumas[self.luma]}, in outputs of models; folders of pictures are taken as they are",
            "render_factor": f"{self.render_factor or OWN_FACTOR}, for models",
            "images": f"{f'the first {self.images}' if self.images else 'all'}, in the order of {orders[self.order]}",
        }


def protocol_names() -> list[str]:
    """The protocols that there are."""
    return sorted(path.stem for path in (recipes() / "conf" / "protocol").glob("*.yaml"))


def load_protocol(name: str, **changes: Any) -> Protocol:
    """The protocol called ``name``, with ``changes`` of its keys.

    Raises:
        UserError: there is no such protocol, or a change does not fit.
    """
    if name not in protocol_names():
        raise UserError(f"--protocol {name}: expected one of {', '.join(protocol_names())}")
    path = recipes() / "conf" / "protocol" / f"{name}.yaml"
    content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return Protocol(**{**content, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
