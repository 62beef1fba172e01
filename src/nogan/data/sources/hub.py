"""Photographs from the Hugging Face hub."""

from typing import TYPE_CHECKING

import numpy as np

from nogan.common.errors import UserError
from nogan.data.images import BadImage, decode_color
from nogan.data.sources.base import short_digest

if TYPE_CHECKING:
    import datasets

HUB_IMAGENET = "ILSVRC/imagenet-1k"

BUILT_IN = "`nogan train experiment=quickstart`, or data=scenes"
"""What to run without the photographs."""


class HubSource:
    """A ``datasets.Dataset`` with an ``image`` column, decoded here and not by ``datasets``."""

    def __init__(self, dataset: "datasets.Dataset") -> None:
        from datasets import Image

        self._dataset = dataset.select_columns("image").cast_column("image", Image(decode=False))

    def __len__(self) -> int:
        return len(self._dataset)

    def name(self, index: int) -> str:
        """The row number. File names are not read, since that costs as much as reading the files."""
        return f"row {index}"

    def read(self, index: int) -> bytes:
        """The file of photograph ``index``. Raises BadImage where the row holds none."""
        data = self._dataset[int(index)]["image"]["bytes"]
        if data is None:
            raise BadImage("no bytes in its row")
        return data

    def fingerprint(self) -> dict[str, str]:
        """A digest of the version and of the files that it was made of: see :func:`nogan.data.sources.fingerprint`."""
        info = self._dataset.info
        files = sorted((info.download_checksums or {}).items())
        return {"copy": short_digest(repr((str(info.version), info.dataset_size, files)).encode())}

    def load(self, index: int, size: int) -> np.ndarray:
        """Photograph ``index`` as uint8 RGB ``(H, W, 3)``: see :func:`nogan.data.images.decode_color`."""
        return decode_color(self.read(index), size)


def hub_imagenet(name: str = HUB_IMAGENET, part: str = "train") -> HubSource:
    """ImageNet from the Hugging Face hub, downloaded on first use (about 150 GB) to the cache of ``datasets``.

    Raises:
        UserError: the hub did not deliver it; the message says in three lines how to get access and log in.
    """
    import datasets

    try:
        return HubSource(datasets.load_dataset(name, split=part))
    except Exception as error:
        # The hub's client raises errors of many kinds: gated, not found, HTTP status, no network, disk full.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{name} did not come from the hub: {reason}\n"
            f"to get access: accept its terms at https://huggingface.co/datasets/{name}, then run `hf auth login`\n"
            f"or use data.path=DIR (a prepared copy or the ILSVRC folders), or the built-in data: {BUILT_IN}"
        ) from error
