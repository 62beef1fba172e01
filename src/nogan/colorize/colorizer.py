"""Colorizing photographs: the network sees a small gray square; the result has its chroma and the photograph's luma.

The steps are those of DeOldify (``deoldify/filters.py`` of https://github.com/jantic/DeOldify): stretch to a square of
16 x ``render_factor`` px, make it gray, run the network, stretch back to full size, then take the photograph's luma
with the chroma of the network's colors. With ``gamut="clip"`` 8-bit images come out exactly as DeOldify's; by default
the luma stays the photograph's own (:mod:`nogan.colorize.composite`).

Neither torch nor onnxruntime is imported before a checkpoint is loaded, and an ONNX export never needs torch.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from nogan.colorize.adjustments import Adjustments
from nogan.colorize.backends import Network, TorchNetwork, onnx_network, pick_device, torch_network
from nogan.colorize.blending import Blending
from nogan.colorize.composite import Gamut, composite, upsample
from nogan.colorize.photos import ColorSpace, from_image
from nogan.colorize.pixels import to_uint8, to_unit
from nogan.colorize.precision import PRECISIONS, Precision
from nogan.colorize.render_factor import combined_squares
from nogan.colorize.square import PHOTO_RENDER_FACTOR, RenderFactor, gray_square, network_size
from nogan.colorize.vividness import PHOTO_VIVIDNESS, check, generator_at, placed
from nogan.common.errors import UserError
from nogan.networks.generator_file import find_weights
from nogan.networks.named import STARTER
from nogan.networks.original import DEOLDIFY_SIZE
from nogan.networks.requested import requested

if TYPE_CHECKING:
    from nogan.networks import UNet

ImageOrArray = TypeVar("ImageOrArray", Image.Image, np.ndarray)

GPU_BATCH_SIZE = 8
"""Photographs or frames in one pass of the network on a GPU; a CPU gains nothing from more than one."""

NO_ADJUSTMENTS = Adjustments()
BY_WEIGHTS = Blending()

_INFO = ("icc_profile", "exif", "xmp", "comment", "dpi")  # what Pillow's own formats can store


class Colorizer:
    """One or several generators, ready to colorize.

    Examples:
        >>> colorizer = Colorizer.load("outputs/quickstart/DATE")
        >>> colored = colorizer.colorize(Image.open("old.jpg"), render_factor=35)
        >>> colored.save("new.jpg", **colored.info)  # with its profile and EXIF
    """

    def __init__(
        self,
        networks: Sequence[tuple[Network, float]],
        *,
        batch_size: int = 1,
        trained_size: int = DEOLDIFY_SIZE,
        adjustments: Adjustments = NO_ADJUSTMENTS,
        render_factor: int | None = None,
        blending: Blending = BY_WEIGHTS,
    ) -> None:
        """Mix ``networks``, each with its weight.

        Args:
            networks: each with a weight above 0; only the ratio of the weights counts.
            batch_size: number of images in a pass that suits the device, for callers with many images.
            trained_size: side in px of the pictures that the networks were trained on, at which the render factor
                "auto" starts.
            adjustments: changes to the colors of the mix (:mod:`nogan.colorize.adjustments`).
            render_factor: the one that suits the networks, which is taken where none is asked for; None for 35.
            blending: how their colors become one picture (:mod:`nogan.colorize.blending`); by their weights by default.

        Raises:
            UserError: no network, a weight that is not above 0, or a blending that does not suit them.
        """
        if not networks or any(not weight > 0 for _, weight in networks):
            raise UserError("A blend needs at least one checkpoint, each with a weight above 0 (--blend A:0.6 B:0.4).")
        total = sum(weight for _, weight in networks)
        self._networks = [network for network, _ in networks]
        self._weights = [weight / total for _, weight in networks]
        self.blending = blending
        self._mask: np.ndarray | None = None
        blending.check(self._weights, masked=False)
        self.batch_size, self.trained_size, self.adjustments = batch_size, trained_size, adjustments
        self.render_factor = render_factor

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Mapping[str, float] = STARTER,
        *,
        device: str | None = None,
        precision: Precision = "auto",
        compile: bool = False,
        vividness: float | None = None,
        default_vividness: float = PHOTO_VIVIDNESS,
        adjustments: Adjustments = NO_ADJUSTMENTS,
        blending: Blending = BY_WEIGHTS,
    ) -> Colorizer:
        """Load a run folder, a ``.safetensors`` or ``.onnx`` export, one of DeOldify's ``.pth`` files, or one by name.

        Args:
            path: the checkpoint, or several with their weights, e.g. ``{"vivid": 0.6, "stable": 0.4}``. By default the
                starter, a small model that comes with the package; "deoldify-artistic", "deoldify-stable" and
                "deoldify-video" are DeOldify's, fetched when first asked for. "RUN:v0.5" is ``RUN`` at a vividness of
                its own.
            device: "cpu", "cuda", "cuda:1", "mps"; the GPU if there is one by default.
            precision: "bf16" runs the convolutions in bfloat16; "auto" does so where the device has instructions for it
                and the colors of a small picture stay the same to the eye (:mod:`nogan.colorize.precision`); "fp32" is
                exact. An ONNX export runs in float32.
            compile: compile the network, which takes a minute at first and pays off for films and folders.
            vividness: from 0 (steady) to 1 (vivid), for a generator with that knob, a run folder, or two checkpoints of
                equal weights: see :mod:`nogan.colorize.vividness`. Of what has one of its own ("RUN:v0.5"), that one
                counts.
            default_vividness: for generators with that knob, where ``vividness`` is None.
            adjustments: changes to its colors (:mod:`nogan.colorize.adjustments`).
            blending: how several checkpoints are blended (:mod:`nogan.colorize.blending`); by their weights by default.

        Raises:
            UserError: in one line, for a checkpoint that cannot be used, a device that is not there, a vividness out of
                range, or a precision or compilation asked of an ONNX export.
        """
        check(default_vividness)
        weights, vividness = placed(path if isinstance(path, Mapping) else {os.fspath(path): 1.0}, vividness)
        batch_size = 1
        if precision not in PRECISIONS:
            raise UserError(f"--precision {precision}: expected {', '.join(PRECISIONS)}.")
        networks, sizes = [], []
        factor: int | None = None
        for word, weight in weights.items():
            checkpoint, own = requested(word)
            file, level = find_weights(checkpoint), vividness if own is None else own
            if file.suffix == ".onnx":
                for setting, given in ((f"--precision {precision}", precision == "bf16"), ("--compile", compile)):
                    if given:
                        raise UserError(f"{setting}: {file} is an ONNX export, which has no such option; leave it out.")
                network, size, own_factor = onnx_network(file, device, level, default_vividness)
            else:
                device = pick_device(device)
                batch_size = 1 if device == "cpu" else GPU_BATCH_SIZE
                generator = generator_at(file, level, default_vividness)
                network, size = torch_network(generator, device, precision, compile), generator.trained_size
                own_factor = getattr(generator, "render_factor", None)
            factor = own_factor if len(weights) == 1 else None
            networks.append((network, weight))
            sizes.append(size)
        size = max(sizes, default=DEOLDIFY_SIZE)
        return cls(
            networks,
            batch_size=batch_size,
            trained_size=size,
            adjustments=adjustments,
            render_factor=factor,
            blending=blending,
        )

    @classmethod
    def of(cls, generator: UNet, *, device: str | None = None, trained_size: int | None = None) -> Colorizer:
        """Take a generator that is in memory already; its weights are copied, and it stays as it is.

        Args:
            generator: from :func:`nogan.networks.build_generator`, from a file, or from a training run.
            device: as in :meth:`load`.
            trained_size: side in px of the pictures that it was trained on; by default the generator's own
                ``trained_size``, which is that of its file, or 192 for one that was just built.
        """
        size = getattr(generator, "trained_size", DEOLDIFY_SIZE) if trained_size is None else trained_size
        network = torch_network(copy.deepcopy(generator), pick_device(device), "fp32", False)
        return cls([(network, 1.0)], trained_size=size)

    def masked(self, mask: np.ndarray) -> Colorizer:
        """The same two networks, blended by a mask.

        Args:
            mask: ``(H, W)`` floating-point in [0, 1], the share of the second network; it is stretched to the size of
                what is colorized.

        Raises:
            UserError: there are not two networks of equal weight, or they are blended by luma.
        """
        self.blending.check(self._weights, masked=True)
        other = copy.copy(self)
        other._mask = mask.astype(np.float32).clip(0, 1)
        return other

    def adjusted(self, adjustments: Adjustments) -> Colorizer:
        """The same networks with other changes to their colors."""
        other = copy.copy(self)
        other.adjustments = adjustments
        return other

    def colorize(
        self,
        image: ImageOrArray,
        render_factor: RenderFactor | None = None,
        *,
        raw: bool = False,
        gamut: Gamut = "fit",
    ) -> ImageOrArray:
        """Colorize one image: a Pillow image gives a Pillow image, an array gives an array.

        Args:
            image: a Pillow image of any mode, treated as its file would be (EXIF orientation and the profiles of CMYK
                and gray are applied, an RGB profile and alpha are kept), or an array: gray ``(H, W)``, RGB
                ``(H, W, 3)`` or RGBA ``(H, W, 4)``, uint8, uint16, or floating-point in [0, 1].
            render_factor: the network sees 16 x this many pixels a side: low is vivid and coarse, high is fine and may
                be pale. "auto" combines several (see :mod:`nogan.colorize.render_factor`). None takes the one that
                the model's file says suits it, else 35.
            raw: give the network's own picture, without the photograph's luma.
            gamut: where chroma is too strong for its luma, "fit" weakens it, so that the luma stays the photograph's
                own; "clip" cuts red, green and blue off, as DeOldify does, and gives its pictures.

        Returns:
            RGB (or RGBA) of the same size; an array keeps its dtype. A Pillow image of 16 bits comes back with 8 bits a
            channel, because Pillow has no 16-bit color. The ICC profile, EXIF, XMP, comment and resolution of a Pillow
            image are in ``info`` of the result; ``result.save(path, **result.info)`` writes them too.

        Raises:
            UserError: an array of another shape or type, or a render factor out of range.
        """
        if isinstance(image, Image.Image):
            photo = from_image(image)
            pixels = to_uint8(photo.pixels)
            (rgb,) = self.colorize_pixels([pixels], render_factor, raw=raw, gamut=gamut, spaces=[photo.space])
            colored = Image.fromarray(rgb)
            if photo.alpha is not None:
                colored.putalpha(Image.fromarray(to_uint8(photo.alpha)))
            colored.info |= {name: value for name, value in photo.metadata.items() if name in _INFO}
            return colored
        pixels = _checked_array(image)
        colors = pixels[..., :3] if pixels.ndim == 3 else pixels
        rgb = self.colorize_pixels([colors], render_factor, raw=raw, gamut=gamut)[0]
        return np.dstack([rgb, pixels[..., 3]]) if pixels.ndim == 3 and pixels.shape[2] == 4 else rgb

    def colorize_pixels(
        self,
        batch: Sequence[np.ndarray],
        render_factor: RenderFactor | None = None,
        *,
        raw: bool = False,
        gamut: Gamut = "fit",
        spaces: Sequence[ColorSpace | None] | None = None,
    ) -> list[np.ndarray]:
        """Colorize several images of any sizes in one pass of the network.

        Args:
            batch: gray ``(H, W)`` or RGB ``(H, W, 3)``, uint8, uint16 or floating-point in [0, 1].
            render_factor: as in :meth:`colorize`.
            raw: as in :meth:`colorize`; so is ``gamut``.
            spaces: the color space of each image; None, and None for an image, stands for sRGB.

        Returns:
            RGB ``(H, W, 3)`` of the same sizes and types.
        """
        spaces = spaces or [None] * len(batch)
        seen = [pixels if space is None else space.shown(pixels) for pixels, space in zip(batch, spaces, strict=True)]
        results = []
        for square, gray, pixels, space in zip(self.squares(seen, render_factor), seen, batch, spaces, strict=True):
            if space is not None:
                square = _in_space(square, gray, space, raw=raw)
            results.append(upsample(square, pixels) if raw else composite(square, pixels, gamut))
        return results

    def squares(self, batch: Sequence[np.ndarray], render_factor: RenderFactor | None = None) -> list[np.ndarray]:
        """The network's pictures of a batch, RGB ``(S, S, 3)`` float32 in [0, 1], not yet stretched back."""
        if render_factor == "auto":
            return [combined_squares(self, pixels) for pixels in batch]
        if render_factor is None:
            render_factor = self.render_factor or PHOTO_RENDER_FACTOR
        size = network_size(render_factor)
        return list(self.predict(np.stack([gray_square(pixels, size) for pixels in batch])))

    def predict(self, gray: np.ndarray) -> np.ndarray:
        """Run the networks on gray squares: ``(B, S, S)`` uint8 to RGB ``(B, S, S, 3)`` float32 in [0, 1]."""
        x = gray.astype(np.float32) / np.float32(255)
        pictures = [network(x) for network in self._networks]
        if len(pictures) == 1:
            return self.adjustments(pictures[0])
        mask = None if self._mask is None else _stretched(self._mask, gray.shape[-1])
        return self.adjustments(self.blending.mixed(pictures, self._weights, x, mask))

    def features(self, gray: np.ndarray) -> np.ndarray | None:
        """What the encoder makes of a gray square: ``(S, S)`` uint8 to ``(S / 8, S / 8, C)`` float32.

        Of several networks the first one that has an encoder counts; None if none has, as ONNX exports.
        """
        for network in self._networks:
            if isinstance(network, TorchNetwork):
                return network.features(gray.astype(np.float32) / np.float32(255))
        return None


def _in_space(square: np.ndarray, gray: np.ndarray, space: ColorSpace, *, raw: bool) -> np.ndarray:
    """The network's picture in the values of ``space``; with the luma of ``gray``, as the result will have it."""
    if not raw:
        square = composite(square, to_unit(gray_square(gray, len(square)).astype(np.uint16) * 257))
    return space.from_srgb(square)


def _stretched(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask at the size of the network's square, ``(S, S)``."""
    import cv2

    smaller = mask.shape[0] > side and mask.shape[1] > side
    return cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _checked_array(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or array.size == 0:
        raise UserError(f"An image array of shape {array.shape}: expected (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"An image array of {array.dtype}: expected uint8, uint16 or floating-point in [0, 1].")
    return array
