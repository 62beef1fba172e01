"""Measures colorizers on photographs, from their files to the results, in one call."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol as Interface

import torch
from torch import distributed as dist

from nogan.colorize.backends import pick_device
from nogan.colorize.square import RenderFactor, network_size
from nogan.common import distributed
from nogan.common.errors import UserError
from nogan.data.images import is_gray
from nogan.data.sources.base import FileSource
from nogan.data.sources.opening import open_source
from nogan.evaluation.colorizers import GRAY, TRUTH, Model, group_of, painter_of, requests_of
from nogan.evaluation.deep import SAID, Deep, Unavailable, inception, lpips
from nogan.evaluation.measures import MEASURES, TABLE
from nogan.evaluation.measuring import STABILITY, Instruments, Measuring
from nogan.evaluation.per_image import needed_for
from nogan.evaluation.protocols import OWN_FACTOR, Protocol, load_protocol
from nogan.evaluation.results import Missing, Results, ResultsFolder, read_results, write_results
from nogan.evaluation.summing_up import put_together
from nogan.evaluation.truths import Truths

NEEDS_TWO = 2
"""Photographs without which there is neither an interval nor a distance of sets."""

LOOKED_AT = 16
"""Photographs that are looked at for whether they have colors at all."""


class Reporter(Interface):
    """Receives progress and remarks."""

    def task(self, name: str, total: int, done: int) -> AbstractContextManager[Callable[[int], None]]:
        """Called as the work on a colorizer begins: with its name, how many images, and how many of them are done.

        What the context gives is called with the number of further images.
        """
        ...

    def remark(self, text: str) -> None:
        """Called with what a user should know: measures that cannot be taken here."""
        ...


class Silent:
    """Shows nothing."""

    def task(self, name: str, total: int, done: int) -> AbstractContextManager[Callable[[int], None]]:
        """See :class:`Reporter`."""
        return nullcontext(lambda more: None)

    def remark(self, text: str) -> None:
        """See :class:`Reporter`."""


@dataclass(frozen=True)
class Options:
    """How colorizers are measured.

    Attributes:
        protocol: its name.
        images: how many photographs, from the first; None for as many as the protocol says.
        render_factors: of models; empty for the protocol's.
        batch_size: photographs in one pass; None for what suits the device.
        device: as in :meth:`nogan.Colorizer.load`.
        keep: of how many photographs the pictures are kept, from the first.
        inception_weights: file for FID; None to let the library load them.
        lpips_weights: file for LPIPS; likewise.
        skip: measures to leave out.
        group_by: config key of the runs, such as ``model``: those with the same value differ by their seed, and are
            averaged.
    """

    protocol: str = "full"
    images: int | None = None
    render_factors: Sequence[RenderFactor] = ()
    batch_size: int | None = None
    device: str | None = None
    keep: int = 500
    inception_weights: Path | None = None
    lpips_weights: Path | None = None
    skip: Sequence[str] = ()
    group_by: str | None = None


def evaluate(
    colorizers: Sequence[str], data: str, output: Path, options: Options | None = None, reporter: Reporter | None = None
) -> Results:
    """Measure ``colorizers`` on the photographs of ``data``; called again, it does only what is missing.

    Args:
        colorizers: see :func:`nogan.evaluation.colorizers.requests_of`.
        data: a folder of photographs, the ILSVRC validation set, or a prepared copy.
        output: the folder of the results.
        options: see :class:`Options`.
        reporter: receives progress.

    Returns:
        What was also written to ``output``.

    Raises:
        UserError: in one line, for whatever is wrong with the photographs, the colorizers or the protocol.
    """
    options, reporter = options or Options(), reporter or Silent()
    unknown = [key for key in options.skip if key not in TABLE]
    if unknown:
        raise UserError(f"--skip {unknown[0]}: expected measures out of {', '.join(TABLE)}")
    changes = {} if options.images is None else {"images": options.images}
    protocol = load_protocol(options.protocol, **changes)
    factors = options.render_factors or (protocol.render_factor,)
    for factor in factors:
        if factor not in (None, "auto"):
            network_size(factor)
    _check_apart(output, data)
    truths = Truths(_open(data), protocol, data)
    _check(truths)
    requests = [GRAY, *requests_of(colorizers, factors), TRUTH]
    for request in requests:
        if request.kind == "pictures":  # whose mistakes are better said before anything is measured
            painter_of(request, truths, None).paint([truths.load(0)])
    groups = {} if options.group_by is None else {r: group_of(r, options.group_by) for r in requests}
    with processes():
        folder = _folder(output)
        instruments, missing = _instruments(protocol, options, reporter)
        measured = {request: Measuring(request, truths, folder, instruments, options.keep) for request in requests}
        for request in requests:
            _measure(measured[request], options, reporter)
        distributed.barrier()
        if distributed.rank() == 0:
            missing += [Missing(key, "left out (--skip)") for key in options.skip]
            settings = _settings(load_protocol(options.protocol), options, truths)
            results = put_together(measured, truths, (options.protocol, settings), groups, missing)
            write_results(results, folder)
        distributed.barrier()
    return read_results(output)


def _measure(measuring: Measuring, options: Options, reporter: Reporter) -> None:
    """This process's share of what is left: every n-th chunk, of n processes."""
    own = range(distributed.rank(), len(measuring.chunks), distributed.world_size())
    left = [chunk for chunk in measuring.left() if chunk in own]
    if not left:
        return
    painter = painter_of(measuring.request, measuring.truths, _device(options))
    batch_size = options.batch_size or (painter.batch_size if isinstance(painter, Model) else 1)
    total = sum(len(measuring.numbers(chunk)) for chunk in own)
    done = total - sum(len(measuring.numbers(chunk)) for chunk in left)
    with reporter.task(measuring.request.name, total, done) as advance:
        measuring.measure(painter, left, batch_size, advance)


@contextmanager
def processes() -> Iterator[None]:
    """The processes that torchrun has started, joined within the context; a lone process stays alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # None of them waits for another before the end, when one may have much more to do.
    dist.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield
    finally:
        dist.destroy_process_group()


def _device(options: Options) -> str:
    local = os.environ.get("LOCAL_RANK")
    if options.device is None and local is not None and torch.cuda.is_available():
        return f"cuda:{local}"
    return pick_device(options.device)


def _instruments(protocol: Protocol, options: Options, reporter: Reporter) -> tuple[Instruments, list[Missing]]:
    device, missing = _device(options), []
    found: dict[str, Deep] = {}
    loaders = {
        "fid": lambda: inception(protocol.inception, options.inception_weights, device),
        "lpips": lambda: lpips(options.lpips_weights, device),
    }
    for key, load in loaders.items():
        if key in options.skip:
            continue
        try:
            found[key] = load()
        except Unavailable as error:
            missing.append(Missing(key, str(error)))
            reporter.remark(f"without {MEASURES[key].label}: {error}")
    wanted = set(TABLE) - set(options.skip)
    keys = frozenset(needed_for(wanted) | (wanted & set(STABILITY)))
    return Instruments(keys, device, found.get("fid"), found.get("lpips")), missing


def _open(data: str) -> FileSource:
    source = open_source("folder", _validation_set(Path(data).expanduser()), setting="--data")
    return source  # type: ignore[return-value]  # folders and prepared copies are sources of files


def _validation_set(path: Path) -> Path:
    """The validation photographs of an ILSVRC download that ``path`` is; ``path`` itself where it is none."""
    inner = Path("ILSVRC/Data/CLS-LOC/val").parts
    candidates = (path.joinpath(*inner[depth:]) for depth in range(len(inner) - 1))
    return next((folder for folder in candidates if folder.is_dir()), path)


def _folder(path: Path) -> ResultsFolder:
    folder = ResultsFolder(path)
    if path.is_file():
        raise UserError(f"-o {path} is a file; expected a folder for the results")
    ours = folder.measured.is_dir() or folder.results.is_file()
    if path.is_dir() and any(path.iterdir()) and not ours:
        raise UserError(f"-o {path} holds other files: expected a new folder, or that of an earlier evaluation")
    try:
        folder.measured.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {path}: the folder cannot be made: {error.strerror}") from error
    return folder


def _check_apart(output: Path, data: str) -> None:
    photographs = Path(data).expanduser().resolve()
    if photographs in (output.resolve(), *output.resolve().parents):
        raise UserError(
            f"-o {output} is inside --data {data}, whose photographs the pictures in it would be taken for: expected a "
            "folder elsewhere"
        )


def _settings(protocol: Protocol, options: Options, truths: Truths) -> dict[str, str]:
    """The protocol said in full, and how this evaluation departs from it."""
    said = {**protocol.said_in_full(), "inception": SAID[protocol.inception]}
    if options.render_factors:
        given = ", ".join(map(str, options.render_factors))
        of_protocol = protocol.render_factor or OWN_FACTOR
        said["render_factor"] = f"{given}, for models (--render-factor; the protocol's is {of_protocol})"
    count = len(truths)
    if options.images is not None:
        said["images"] = f"{count}, the first ones (--images); the protocol takes {said['images']}"
    elif protocol.images is not None and count < protocol.images:
        said["images"] = f"{count}, fewer than the protocol has ({said['images']}): not to be compared with its figures"
    else:
        said["images"] = f"{count}: {said['images']}"
    return said


def _check(truths: Truths) -> None:
    if len(truths) < NEEDS_TWO:
        raise UserError(
            f"--data {truths.label}: one photograph; expected {NEEDS_TWO} or more, for intervals and distances of sets"
        )
    step = max(1, len(truths) // LOOKED_AT)
    if all(is_gray(truths.load(number).pixels) for number in range(0, len(truths), step)):
        raise UserError(f"--data {truths.label}: the photographs are gray; expected some with color, as the truth")
