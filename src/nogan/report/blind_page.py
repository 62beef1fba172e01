"""The page in which a person chooses between two pictures without knowing who made them."""

import random
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from nogan.common.errors import UserError
from nogan.common.version import __version__
from nogan.evaluation.blind import FORMAT, PRIOR, VERSION, pairs
from nogan.evaluation.results import ResultsFolder, read_results
from nogan.report.evaluation_page import picture_uri
from nogan.report.html import FOR_PICTURES, write_page

PX, QUALITY = 448, 82
PAIRS = 400  # more than a person has patience for


def write_blind_page(folder: Path, seed: int = 0) -> Path:
    """Write ``blind.html`` from the pictures of the evaluation in ``folder``.

    Gray and truth do not compete. As many photographs are in it as fit.

    Args:
        folder: of an evaluation.
        seed: decides about the order of the pairs, and about the sides.

    Returns:
        The page.

    Raises:
        UserError: there is no evaluation, or it has fewer than two colorizers with pictures.
    """
    results, files = read_results(folder), ResultsFolder(folder)
    competing = [e for e in results.measured if e.kind not in ("gray", "truth") and e.folder is not None]
    if len(competing) < 2:
        raise UserError(
            f"{folder}: {len(competing)} colorizers with pictures; --blind needs at least two to choose between"
        )
    images = list(results.images)
    random.Random(seed).shuffle(images)
    pictures: dict[str, list[str]] = {}
    used = 0
    for image in images:
        paths = [files.picture(entry, image) for entry in competing]
        found = [path for path in paths if path is not None and path.is_file()]
        if len(found) < len(competing):
            continue
        uris = [picture_uri(path, PX, QUALITY) for path in found]
        used += sum(map(len, uris))
        if pictures and used > FOR_PICTURES:
            break
        pictures[image] = uris
    if not pictures:
        raise UserError(f"{folder}: it has no pictures to choose between; measure again with --keep above 0")
    names = [entry.name for entry in competing]
    shown = list(islice(pairs(list(pictures), names, seed), PAIRS))
    data = {
        "format": FORMAT,
        "version": VERSION,
        "seed": seed,
        "prior": PRIOR,
        "colorizers": names,
        "pictures": pictures,
        "pairs": shown,
    }
    path = folder / "blind.html"
    try:
        return write_page(
            path,
            "blind.html",
            data,
            title="Which is better?",
            count=len(shown),
            version=__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; expected a folder that can be written to") from error
