"""Photographs to color: the network sees a small gray square, the photograph keeps its luma and gets new chroma.

The chain is DeOldify's (``deoldify/filters.py`` of https://github.com/jantic/DeOldify), to the level for 8-bit images:
stretch to a square of 16 x ``render_factor`` px, gray, network, back to full size, then Y of the photograph with U and
V of the network's colors. 16-bit and floating-point images go the same way in float32.

Neither torch nor onnxruntime is imported before a checkpoint is loaded, and for ONNX no torch at all.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import cv2
import numpy as np
from PIL import Image

from nogan.colorize.photos import from_image
from nogan.common.errors import UserError
from nogan.networks.generator_file import DEOLDIFY_SIZE, find_weights, load_generator, trained_size

if TYPE_CHECKING:
    from torch import nn

Network = Callable[[np.ndarray], np.ndarray]
"""Gray ``(B, S, S)`` float32 in [0, 1] to RGB ``(B, S, S, 3)`` float32 in [0, 1]."""

RenderFactor = int | Literal["auto"]
ImageOrArray = TypeVar("ImageOrArray", Image.Image, np.ndarray)

PIXELS_PER_FACTOR = 16
MIN_RENDER_FACTOR, MAX_RENDER_FACTOR = 4, 100
PHOTO_RENDER_FACTOR, FILM_RENDER_FACTOR = 35, 21
STRIP_PIXELS = 1 << 18
"""Full-size work goes in strips of about so many pixels: memory is bounded, and a strip stays in the cache."""
_INFO = ("icc_profile", "exif", "xmp", "comment", "dpi")  # what Pillow's own formats take


class Colorizer:
    """One or several generators, ready to color.

    >>> colorizer = Colorizer.load("outputs/quickstart")
    >>> colored = colorizer.colorize(Image.open("old.jpg"), render_factor=35)
    >>> colored.save("new.jpg", **colored.info)  # with its profile and EXIF
    """

    def __init__(
        self, networks: Sequence[tuple[Network, float]], *, batch_size: int = 1, trained_size: int = DEOLDIFY_SIZE
    ) -> None:
        """Mix ``networks``, each with its weight (any positive numbers; their ratio counts).

        ``batch_size`` is what suits the device, for callers with many images; ``trained_size`` is the side in px of
        what the networks were trained on, from which the render factor "auto" starts.
        """
        if not networks or any(not weight > 0 for _, weight in networks):
            raise UserError("A blend needs at least one checkpoint, each with a weight above 0 (--blend A:0.6 B:0.4).")
        total = sum(weight for _, weight in networks)
        self._networks = [(network, weight / total) for network, weight in networks]
        self.batch_size, self.trained_size = batch_size, trained_size

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | Mapping[str, float],
        *,
        device: str | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        compile: bool = False,
    ) -> Colorizer:
        """Load a run folder, a ``.safetensors`` or ``.onnx`` export, or one of DeOldify's ``.pth`` files.

        Args:
            path: the checkpoint, or several with their weights, e.g. ``{"vivid": 0.6, "stable": 0.4}``.
            device: "cpu", "cuda", "cuda:1", "mps"; the GPU if there is one by default.
            precision: "bf16" runs the convolutions in bfloat16; fast on GPUs and CPUs that have it.
            compile: compile the network (a minute at first, then faster; pays for films and folders).

        Raises:
            UserError: in one line, for a checkpoint that cannot be used, a device that is not there, or a precision
                or compilation asked of an ONNX export.
        """
        weights = path if isinstance(path, Mapping) else {os.fspath(path): 1.0}
        batch_size = 1
        if precision not in ("fp32", "bf16"):
            raise UserError(f"--precision {precision}: expected fp32 or bf16.")
        networks, sizes = [], []
        for checkpoint, weight in weights.items():
            file = find_weights(checkpoint)
            if file.suffix == ".onnx":
                for setting, given in ((f"--precision {precision}", precision != "fp32"), ("--compile", compile)):
                    if given:
                        raise UserError(
                            f"{setting}: {file} is an ONNX export, which runs as it was made; leave it out."
                        )
                network, size = _onnx_network(file, device)
            else:
                device = pick_device(device)
                batch_size = 1 if device == "cpu" else 8
                network, size = _torch_network(load_generator(file), device, precision, compile), trained_size(file)
            networks.append((network, weight))
            sizes.append(size)
        return cls(networks, batch_size=batch_size, trained_size=max(sizes, default=DEOLDIFY_SIZE))

    @classmethod
    def of(cls, network: nn.Module, *, device: str | None = None) -> Colorizer:
        """Take a generator that is in memory already (its weights are copied, and it is left as it is)."""
        return cls([(_torch_network(copy.deepcopy(network), pick_device(device), "fp32", False), 1.0)])

    def colorize(
        self, image: ImageOrArray, render_factor: RenderFactor = PHOTO_RENDER_FACTOR, *, raw: bool = False
    ) -> ImageOrArray:
        """Color one image; what comes in as a Pillow image goes out as one, an array as an array.

        Args:
            image: a Pillow image of any mode, treated as its file would be (EXIF orientation and the profiles of CMYK
                and gray are applied, alpha is kept), or an array: gray ``(H, W)``, RGB ``(H, W, 3)`` or RGBA
                ``(H, W, 4)``, uint8, uint16, or floating-point in [0, 1].
            render_factor: the network sees 16 x this many pixels a side: low is vivid and coarse, high is fine and may
                be pale. "auto" looks at several (see :mod:`nogan.colorize.render_factor`).
            raw: give the network's own picture, without the photograph's luma.

        Returns:
            RGB (or RGBA) of the same size; an array keeps its dtype. 16-bit Pillow images come back with 8 bits a
            channel, for Pillow has no deeper color. A Pillow image has its ICC profile, EXIF, XMP, comment and
            resolution in ``info``; ``result.save(path, **result.info)`` writes them too.

        Raises:
            UserError: an array of another shape or type, or a render factor out of range.
        """
        if isinstance(image, Image.Image):
            photo = from_image(image)
            colored = Image.fromarray(self.colorize_pixels([_to_uint8(photo.pixels)], render_factor, raw=raw)[0])
            if photo.alpha is not None:
                colored.putalpha(Image.fromarray(_to_uint8(photo.alpha)))
            colored.info |= {name: value for name, value in photo.metadata.items() if name in _INFO}
            return colored
        pixels = _checked_array(image)
        colored = self.colorize_pixels([pixels[..., :3] if pixels.ndim == 3 else pixels], render_factor, raw=raw)[0]
        return np.dstack([colored, pixels[..., 3]]) if pixels.ndim == 3 and pixels.shape[2] == 4 else colored

    def colorize_pixels(
        self, batch: Sequence[np.ndarray], render_factor: RenderFactor = PHOTO_RENDER_FACTOR, *, raw: bool = False
    ) -> list[np.ndarray]:
        """Color several images of any sizes in one pass of the network.

        Args:
            batch: gray ``(H, W)`` or RGB ``(H, W, 3)``, uint8, uint16 or floating-point in [0, 1].
            render_factor: as in :meth:`colorize`.
            raw: as in :meth:`colorize`.

        Returns:
            RGB ``(H, W, 3)`` of the same sizes and types.
        """
        squares = self.squares(batch, render_factor)
        return [upsample(s, p) if raw else join_luma(s, p) for s, p in zip(squares, batch, strict=True)]

    def squares(
        self, batch: Sequence[np.ndarray], render_factor: RenderFactor = PHOTO_RENDER_FACTOR
    ) -> list[np.ndarray]:
        """The network's pictures of a batch: RGB ``(S, S, 3)`` float32 in [0, 1], still stretched to the square."""
        if render_factor == "auto":
            from nogan.colorize.render_factor import combined_squares

            return [combined_squares(self, pixels) for pixels in batch]
        size = network_size(render_factor)
        return list(self.predict(np.stack([gray_square(pixels, size) for pixels in batch])))

    def predict(self, gray: np.ndarray) -> np.ndarray:
        """Run the networks on gray squares: ``(B, S, S)`` uint8 to RGB ``(B, S, S, 3)`` float32 in [0, 1]."""
        x = gray.astype(np.float32) / np.float32(255)
        mixed = None
        for network, weight in self._networks:
            rgb = network(x)
            mixed = rgb * weight if mixed is None else mixed + rgb * weight
        return rgb if len(self._networks) == 1 else mixed


def network_size(render_factor: int) -> int:
    """Side of the network's square in pixels.

    Raises:
        UserError: a render factor out of range.
    """
    if isinstance(render_factor, bool) or not isinstance(render_factor, int | np.integer):
        raise UserError(f"--render-factor {render_factor!r}: expected a whole number or 'auto'.")
    if not MIN_RENDER_FACTOR <= render_factor <= MAX_RENDER_FACTOR:
        raise UserError(
            f"--render-factor {render_factor}: expected {MIN_RENDER_FACTOR} to {MAX_RENDER_FACTOR} "
            f"(the network sees {PIXELS_PER_FACTOR} x this many pixels a side)."
        )
    return int(render_factor) * PIXELS_PER_FACTOR


def gray_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """What the network is shown: ``(H, W)`` or ``(H, W, 3)`` of any type, stretched to ``(size, size)`` uint8 gray."""
    # Channel by channel Pillow gives the same picture, and a large photograph is not copied whole.
    planes = [pixels] if pixels.ndim == 2 else [pixels[..., channel] for channel in range(3)]
    small = [
        Image.fromarray(np.ascontiguousarray(_to_uint8(plane))).resize((size, size), Image.Resampling.BILINEAR)
        for plane in planes
    ]
    return np.asarray(small[0] if len(small) == 1 else Image.merge("RGB", small).convert("L"))


def upsample(square: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The network's own picture ``(S, S, 3)`` at the size and in the type of ``like``."""
    result = np.empty((*like.shape[:2], 3), like.dtype)
    if like.dtype == np.uint8:
        small = Image.fromarray((square * 255).astype(np.uint8))
        for rows, box in _strips(like.shape[:2], small.size):
            result[rows] = _resized(small, result[rows], box)
        return result
    planes = [Image.fromarray(np.ascontiguousarray(square[..., channel])) for channel in range(3)]
    for rows, box in _strips(like.shape[:2], planes[0].size):
        strip = np.dstack([_resized(plane, result[rows], box) for plane in planes])
        result[rows] = _from_unit(strip, like.dtype)
    return result


def join_luma(square: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    """What the user gets: chroma of ``square`` ``(S, S, 3)``, luma (Rec. 601) of ``photograph``, clipped to the gamut.

    Args:
        square: RGB float32 in [0, 1].
        photograph: ``(H, W)`` or ``(H, W, 3)``, uint8, uint16 or floating-point in [0, 1].

    Returns:
        RGB ``(H, W, 3)`` of the photograph's type.
    """
    result = np.empty((*photograph.shape[:2], 3), photograph.dtype)
    if photograph.dtype == np.uint8:
        small = Image.fromarray((square * 255).astype(np.uint8))
        for rows, box in _strips(photograph.shape[:2], small.size):
            yuv = cv2.cvtColor(_resized(small, result[rows], box), cv2.COLOR_RGB2YUV)
            strip = photograph[rows]
            # OpenCV's fixed-point luma, which leaves a gray value as it is.
            yuv[..., 0] = strip if strip.ndim == 2 else cv2.cvtColor(strip, cv2.COLOR_RGB2YUV)[..., 0]
            cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB, dst=result[rows])
        return result
    chroma = cv2.cvtColor(np.ascontiguousarray(square, np.float32), cv2.COLOR_RGB2YUV)
    u, v = (Image.fromarray(np.ascontiguousarray(chroma[..., channel])) for channel in (1, 2))
    for rows, box in _strips(photograph.shape[:2], u.size):
        strip = _to_unit(photograph[rows])
        y = strip if strip.ndim == 2 else cv2.cvtColor(strip, cv2.COLOR_RGB2YUV)[..., 0]
        yuv = cv2.merge([y, _resized(u, result[rows], box), _resized(v, result[rows], box)])
        result[rows] = _from_unit(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB), photograph.dtype)
    return result


def _strips(
    shape: tuple[int, int], small: tuple[int, int]
) -> Iterator[tuple[slice, tuple[float, float, float, float]]]:
    """Row slices of the full size, each with its box (left, top, right, bottom) in the small picture."""
    height, width = shape
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), (0, top * small[1] / height, small[0], bottom * small[1] / height)


def _resized(small: Image.Image, like: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(small.resize((like.shape[1], like.shape[0]), Image.Resampling.BILINEAR, box=box))


def _to_uint8(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    result = np.empty(pixels.shape, np.uint8)
    for rows, _ in _strips(pixels.shape[:2], (1, 1)):
        result[rows] = pixels[rows] >> 8 if pixels.dtype == np.uint16 else np.round(pixels[rows].clip(0, 1) * 255)
    return result


def _to_unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(65535 if pixels.dtype == np.uint16 else 1)


def _from_unit(rgb: np.ndarray, dtype: np.dtype) -> np.ndarray:
    rgb = rgb.clip(0, 1)
    return np.round(rgb * 65535).astype(np.uint16) if dtype == np.uint16 else rgb.astype(dtype)


def _checked_array(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or array.size == 0:
        raise UserError(f"An image array of shape {array.shape}: expected (H, W), (H, W, 3) or (H, W, 4).")
    if array.dtype not in (np.uint8, np.uint16) and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"An image array of {array.dtype}: expected uint8, uint16 or floating-point in [0, 1].")
    return array


def pick_device(device: str | None) -> str:
    """The device that the user names, if it is there; without a name, a GPU if there is one.

    Raises:
        UserError: for a device that this machine or this torch has not.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {device}: not available here ({str(error).splitlines()[0]})") from error
    return device


def _torch_network(network: nn.Module, device: str, precision: str, compile: bool) -> Network:
    """``network`` made ready (folded in place) and wrapped; see :data:`Network`."""
    import torch

    from nogan.common.color import denormalize, normalize
    from nogan.common.failures import naming_out_of_memory
    from nogan.networks import fold_spectral_norm

    where = torch.device(device)
    network = fold_spectral_norm(network).to(where, memory_format=torch.channels_last)
    network.requires_grad_(False)
    if compile:
        network.compile()

    def run(gray: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            x = torch.from_numpy(gray).to(where)[:, None].expand(-1, 3, -1, -1)
            x = normalize(x).contiguous(memory_format=torch.channels_last)
            rgb = denormalize(network(x).float()).clamp_(0, 1)
            return rgb.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def guarded(gray: np.ndarray) -> np.ndarray:
        what = f"coloring {len(gray)} x {gray.shape[1]} px on {where}"
        try:
            with naming_out_of_memory(what, "lower --render-factor or --batch-size"):
                return run(gray)
        except RuntimeError as error:
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"--compile does not work here; leave it out ({reason})") from error
            raise

    return guarded


def _onnx_network(path: Path, device: str | None) -> tuple[Network, int]:
    """The model as a :data:`Network`, and the size in px that it was trained at."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f'{path} needs onnxruntime: pip install -e ".[onnx]"') from error
    available = onnxruntime.get_available_providers()
    wanted = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    if device is not None:
        provider = wanted.get(device.partition(":")[0])
        if provider not in available:
            raise UserError(f"--device {device}: this onnxruntime offers {', '.join(available)}.")
        providers = [provider]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
        metadata = session.get_modelmeta().custom_metadata_map
        mean, std = (np.array(metadata[key].split(), np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        size = int(metadata.get("size", DEOLDIFY_SIZE))
        name = session.get_inputs()[0].name
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise UserError(f"{path} is damaged, or no model that `nogan export` wrote.") from error

    def run(gray: np.ndarray) -> np.ndarray:
        x = (np.broadcast_to(gray[:, None], (len(gray), 3, *gray.shape[1:])) - mean) / std
        (y,) = session.run(None, {name: x})
        return np.ascontiguousarray((y * std + mean).clip(0, 1).transpose(0, 2, 3, 1))

    return run, size
