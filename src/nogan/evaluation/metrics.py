"""Measures of a colorizer on held-out photographs, none of which needs a download.

All functions take RGB ``(B, 3, H, W)`` in [0, 1] of any float type and device, and measure in float32. Lab is CIELAB of
sRGB with the D65 white point, 2 degree observer (IEC 61966-2-1, CIE 15): a* and b* are 0 on grays and reach about ±100.

The measures of films (color distribution consistency and warp error, on uint8 frames of NumPy) are in
:mod:`nogan.colorize.film.flicker`.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from nogan.common.failures import is_of_a_worker, is_out_of_memory

PSNR_CEILING = 100.0
"""PSNR in dB of equal images, for which it is infinite, so that means over images stay finite."""
ORANGE_RED_HUE = (15.0, 65.0)
"""Range of Lab hue angles in degrees that counts as orange-red: sRGB red has 40, dark orange (255, 140, 0) 64."""
ORANGE_RED_CHROMA = 30.0
"""Least Lab chroma that counts as orange-red; human skin in daylight is mostly below it."""

_LINEAR_RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE_D65 = tuple(sum(row) for row in _LINEAR_RGB_TO_XYZ)  # so that grays are neutral to the last digit
_SSIM_WINDOW = 11
_STRIP_PIXELS = 1 << 18
_GRIDS = (16, 8, 4)  # cells a side, finest first


class MetricError(Exception):
    """A metric could not be computed; the message names it and the reason."""


@contextlib.contextmanager
def failing_as(metric: str) -> Iterator[None]:
    """Turn exceptions into a :class:`MetricError` that names ``metric``.

    Running out of memory and the death of a data worker are no fault of the metric, and are raised as they are.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or is_of_a_worker(error):
            raise
        kind, reason = type(error).__name__.strip("_"), " ".join(str(error).split())
        raise MetricError(f"metric {metric} failed: {kind}: {reason}") from error


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIELAB (D65) ``(..., 3, H, W)`` of sRGB, which is clamped to [0, 1] first; L* is in [0, 100]."""
    rgb = rgb.float().clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = rgb.new_tensor(_LINEAR_RGB_TO_XYZ) / rgb.new_tensor(_WHITE_D65)[:, None]
    xyz = torch.einsum("ij,...jhw->...ihw", matrix, linear)
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-6) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(
        -3
    )
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def colorfulness(rgb: Tensor) -> Tensor:
    """Colorfulness ``(B,)`` of RGB ``(B, 3, H, W)`` in [0, 1]: 0 on gray, some 15 (slight) to 100 (extreme).

    The measure M(3) of Hasler and Süsstrunk, "Measuring colorfulness in natural images", 2003, on their scale of 0 to
    255: sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)² + mean(yb)²) with the signed opponents rg = R - G and
    yb = (R + G) / 2 - B. Variances are over the pixels of one image, without Bessel's correction.
    """
    return _colorfulness(_opponents(rgb))


def colorfulness_ddcolor(rgb: Tensor) -> Tensor:
    """Colorfulness ``(B,)`` as the published code of DDColor has it: of the absolute values of the opponents.

    https://github.com/piddnad/DDColor, ``basicsr/metrics/colorfulness.py``. It differs from :func:`colorfulness` where
    a picture has opposite colors, whose signed opponents cancel in the mean and spread in the deviation.
    """
    return _colorfulness(_opponents(rgb).abs())


def _opponents(rgb: Tensor) -> Tensor:
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(1)
    return torch.stack([red - green, (red + green) / 2 - blue], dim=1)


def _colorfulness(opponents: Tensor) -> Tensor:
    variance, mean = torch.var_mean(opponents, dim=2, correction=0)
    return variance.sum(1).sqrt() + 0.3 * mean.square().sum(1).sqrt()


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio ``(B,)`` in dB of images in [0, 1]; equal images get ``PSNR_CEILING``."""
    _check_pair(output, target)
    error = (output.float() - target.float()).square().flatten(1).mean(1)
    return -10 * error.clamp(min=10 ** (-PSNR_CEILING / 10)).log10()


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity ``(B,)`` of images in [0, 1], by torchmetrics; NaN where a side is below the window of 11.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: a Gaussian window of
    11 px and 1.5 px deviation, K1 = 0.01, K2 = 0.03, each channel of RGB, mean over channels and whole windows.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_pair(output, target)
    if min(output.shape[-2:]) < _SSIM_WINDOW:
        return output.new_full((len(output),), math.nan)
    _, at_pixels = structural_similarity_index_measure(
        output.float(), target.float(), data_range=1.0, reduction="none", return_full_image=True
    )
    border = _SSIM_WINDOW // 2  # where windows reach over the edge: torchmetrics mirrors the picture there
    return at_pixels[..., border:-border, border:-border].flatten(1).mean(1)


def ciede2000(output_lab: Tensor, target_lab: Tensor) -> Tensor:
    """Mean color difference CIEDE2000 ``(B,)`` of two Lab images ``(B, 3, H, W)``, by scikit-image.

    CIE 142-2001; 1 is just noticeable side by side, and a colorless picture of a colorful one has some 10.
    """
    from skimage.color import deltaE_ciede2000

    _check_pair(output_lab, target_lab)
    sums = []
    for first, second in zip(output_lab.cpu(), target_lab.cpu(), strict=True):
        # In strips, because scikit-image takes some twenty planes of float64.
        rows = max(1, _STRIP_PIXELS // first.shape[-1])
        strips = zip(first.split(rows, dim=1), second.split(rows, dim=1), strict=True)
        parts = (deltaE_ciede2000(a.double().numpy(), b.double().numpy(), channel_axis=0).sum() for a, b in strips)
        sums.append(float(sum(parts)) / first[0].numel())
    return torch.tensor(sums, dtype=torch.float64)


def ab_shift(output: Tensor, target: Tensor) -> Tensor:
    """Mean a* and b* of each output minus those of its target, ``(B, 2)``: positive is redder, yellower."""
    _check_pair(output, target)
    return mean_ab(rgb_to_lab(output)) - mean_ab(rgb_to_lab(target))


def chroma_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance ``(B,)`` of a* and b*, in Lab units, between RGB images ``(B, 3, H, W)`` in [0, 1]."""
    _check_pair(a, b)
    difference = rgb_to_lab(a)[..., 1:, :, :] - rgb_to_lab(b)[..., 1:, :, :]
    return difference.square().sum(dim=-3).sqrt().mean(dim=(-2, -1))


def orange_red_share(rgb: Tensor) -> Tensor:
    """Share of pixels ``(B,)`` in [0, 1] that are orange-red.

    These have a Lab hue angle atan2(b*, a*) in ``ORANGE_RED_HUE`` and a chroma hypot(a*, b*) of ``ORANGE_RED_CHROMA``
    or more. Orange skin and over-red lips show that a colorizer was trained past its inflection point.
    """
    return orange_red_of_lab(rgb_to_lab(rgb))


def chroma_features(lab: Tensor) -> Tensor:
    """Local color at three scales, ``(B * 256, 18)``, of Lab images ``(B, 3, H, W)``.

    The image is divided into 16 x 16 cells, whatever its size. Each cell gives a row: mean and standard deviation of
    L*, a* and b* in it, in the cell of twice the width around it, and in that of four times the width. L* is there for
    its covariance with the chroma: blue sand under a sand-colored sky has the right chroma on the wrong lightness. All
    are divided by √3, so that a squared distance is the mean over the scales.
    """
    moments = F.adaptive_avg_pool2d(torch.cat([lab, lab.square()], dim=1), _GRIDS[0])
    features = []
    for grid in _GRIDS:
        mean, square = F.avg_pool2d(moments, _GRIDS[0] // grid).chunk(2, dim=1)
        local = torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], dim=1)
        features.append(F.interpolate(local, size=_GRIDS[0], mode="nearest"))
    return torch.cat(features, dim=1).permute(0, 2, 3, 1).flatten(0, 2) / math.sqrt(len(_GRIDS))


def chroma_rows(lab: Tensor) -> Tensor:
    """:func:`chroma_features` in float64 on the CPU, for sums over many."""
    return chroma_features(lab).to("cpu", torch.float64)


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians with means ``(D,)`` and covariances ``(D, D)``.

    |mean_a - mean_b|² + tr(A + B - 2 (A^½ B A^½)^½), Dowson and Landau 1982; as a distance of image sets: Heusel et
    al., "GANs trained by a two time-scale update rule", 2017. In float64, by eigenvalues of symmetric matrices with
    negative round-off set to 0: no inverse is taken, so singular covariances are fine and nothing is regularized.
    NaN where anything given is not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (x.double() for x in (mean_a, cov_a, mean_b, cov_b))
    if not all(x.isfinite().all() for x in (mean_a, cov_a, mean_b, cov_b)):  # which the eigenvalue solver refuses
        return math.nan
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root_a @ cov_b @ root_a
    trace_of_root = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace_of_root
    return max(0.0, distance.item())


class ChromaFrechet:
    """Fréchet distance between the local chroma of two sets of images, accumulated batch by batch.

    Gaussians are fitted to the rows of :func:`chroma_features` of either set, and compared by
    :func:`frechet_distance`; the unit is squared Lab units. Where outputs have the luma of their photographs, only
    chroma can differ. The distance tells whether the outputs have the same *kind* of colors as the truth: how vivid
    they are, how large the patches, how varied between and within patches, and on which lightness. It does not tell
    whether each color is in its place. So grayish averages make it large, although their pixel error is small, and a
    red balloon in place of a blue one hardly counts. As with any Fréchet distance, small sets are biased upward:
    compare values of one set, or of sets of equal size.

    ``sums`` holds float64 tensors on the CPU, which can be added over batches and over processes.
    """

    ROWS = _GRIDS[0] ** 2
    """Of :func:`chroma_features` for one picture."""

    def __init__(self) -> None:
        size = 6 * len(_GRIDS)
        self.sums = {
            f"{of}_{what}": torch.zeros(shape, dtype=torch.float64)
            for of in ("output", "target")
            for what, shape in (("count", ()), ("sum", (size,)), ("outer", (size, size)))
        }

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add two batches of RGB ``(B, 3, H, W)`` in [0, 1], which need not be pairs nor of one size."""
        self.update_lab(rgb_to_lab(output), rgb_to_lab(target))

    def update_lab(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`update`, for images in Lab; the :func:`chroma_rows` of both."""
        both = chroma_rows(output), chroma_rows(target)
        for of, rows in zip(("output", "target"), both, strict=True):
            self.sums[f"{of}_count"] += len(rows)
            self.sums[f"{of}_sum"] += rows.sum(0)
            self.sums[f"{of}_outer"] += rows.T @ rows
        return both

    def compute(self) -> float:
        """The distance.

        Raises:
            ValueError: before the first update.
        """
        gaussians = []
        for of in ("output", "target"):
            count = self.sums[f"{of}_count"]
            if not count:
                raise ValueError("no image was given to ChromaFrechet.update")
            mean = self.sums[f"{of}_sum"] / count
            gaussians += [mean, self.sums[f"{of}_outer"] / count - torch.outer(mean, mean)]
        return frechet_distance(*gaussians)


def chroma_frechet(output: Tensor, target: Tensor) -> float:
    """:class:`ChromaFrechet` of two batches of RGB ``(B, 3, H, W)`` in [0, 1]."""
    distance = ChromaFrechet()
    distance.update(output, target)
    return distance.compute()


class HeldOutMetrics:
    """The measures that a run logs of its held-out set, accumulated batch by batch.

    - ``colorfulness``, ``colorfulness_truth``: means over the images; ``colorfulness_ratio``: their quotient
    - ``psnr``: mean over the images, dB
    - ``chroma_fd``: :class:`ChromaFrechet`
    - ``a_shift``, ``b_shift``: mean a* and b* of the outputs minus those of the truth
    - ``orange_red``, ``orange_red_truth``: shares of pixels, see :func:`orange_red_share`

    ``sums`` holds float64 tensors on the CPU, which can be added over batches and over processes.
    """

    def __init__(self) -> None:
        self._frechet = ChromaFrechet()
        names = ("count", "colorfulness", "colorfulness_truth", "psnr", "a", "b", "orange_red", "orange_red_truth")
        self.sums = {name: torch.zeros((), dtype=torch.float64) for name in names} | self._frechet.sums

    def update(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch of outputs with their truth, RGB ``(B, 3, H, W)`` in [0, 1].

        Returns:
            The :func:`chroma_rows` of both, which :func:`nogan.evaluation.set_color.color_of_rows` takes.

        Raises:
            MetricError: names the metric that failed.
        """
        _check_pair(output, target)
        output_lab, target_lab = rgb_to_lab(output), rgb_to_lab(target)
        shift = mean_ab(output_lab) - mean_ab(target_lab)
        measures = {
            "colorfulness": lambda: colorfulness(output),
            "colorfulness_truth": lambda: colorfulness(target),
            "psnr": lambda: psnr(output, target),
            "a": lambda: shift[:, 0],
            "b": lambda: shift[:, 1],
            "orange_red": lambda: orange_red_of_lab(output_lab),
            "orange_red_truth": lambda: orange_red_of_lab(target_lab),
        }
        self.sums["count"] += len(output)
        for name, measure in measures.items():
            with failing_as(name):
                self.sums[name] += measure().sum().item()
        with failing_as("chroma_fd"):
            return self._frechet.update_lab(output_lab, target_lab)

    def compute(self) -> dict[str, float]:
        """All measures so far.

        Raises:
            ValueError: before the first update.
            MetricError: names the metric that failed.
        """
        if not self.sums["count"]:
            raise ValueError("no image was given to HeldOutMetrics.update")
        with failing_as("chroma_fd"):
            chroma_fd = self._frechet.compute()
        mean = {name: (self.sums[name] / self.sums["count"]).item() for name in self.sums if self.sums[name].ndim == 0}
        truth = mean["colorfulness_truth"]
        return {
            "colorfulness": mean["colorfulness"],
            "colorfulness_truth": truth,
            "colorfulness_ratio": mean["colorfulness"] / truth if truth else math.nan,
            "psnr": mean["psnr"],
            "chroma_fd": chroma_fd,
            "a_shift": mean["a"],
            "b_shift": mean["b"],
            "orange_red": mean["orange_red"],
            "orange_red_truth": mean["orange_red_truth"],
        }


def _check_pair(output: Tensor, target: Tensor) -> None:
    if output.shape != target.shape:
        raise ValueError(f"output has shape {tuple(output.shape)}, target {tuple(target.shape)}; they must be equal")


def mean_ab(lab: Tensor) -> Tensor:
    """Mean a* and b* ``(B, 2)`` of Lab images ``(B, 3, H, W)``."""
    return lab[:, 1:].mean(dim=(2, 3))


def orange_red_of_lab(lab: Tensor) -> Tensor:
    """As :func:`orange_red_share`, of Lab images."""
    a, b = lab[:, 1], lab[:, 2]
    low, high = (math.radians(angle) for angle in ORANGE_RED_HUE)
    hue = torch.atan2(b, a)
    inside = (hue >= low) & (hue <= high) & (torch.hypot(a, b) >= ORANGE_RED_CHROMA)
    return inside.float().mean(dim=(1, 2))
