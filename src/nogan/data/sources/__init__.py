"""Where photographs come from, how they are divided, and how a batch of them is loaded.

A *source* has ``__len__()`` and ``load(index, size) -> uint8 RGB (H, W, 3)``. The shorter side is between ``size`` and
``2 * size``, and smaller only where the file is smaller: nothing is enlarged here. The longer side is at most twice the
shorter: what is longer is cut to its middle, so that the memory of a batch is bounded. Reducing is by area-averaging,
which keeps the bilinear resampling of :mod:`nogan.data.augment` from aliasing.

Sources hold no open file that a fork or a pickle would break, so any kind of DataLoader worker may use them. What needs
torch imports it where it is used: the processes of :mod:`nogan.data.prepare` need none of it, and start quickly.

A source of your own needs no change here: see docs/extending.md. A further built-in kind takes a file in this package,
a branch in :func:`open_source`, its name in ``BUILT_IN_DATA`` (:mod:`nogan.plan.config`), and ``conf/data/KIND.yaml``.
"""

from nogan.data.sources.arrow import PREPARING, PreparedSource, arrow_folder
from nogan.data.sources.base import FileSource, Source, fingerprint
from nogan.data.sources.dividing import Split, shuffled, split, subset
from nogan.data.sources.folders import FolderSource, ilsvrc_folder
from nogan.data.sources.hub import HubSource, hub_imagenet
from nogan.data.sources.loading import Batch, load_batch
from nogan.data.sources.opening import open_held_out, open_photographs, open_source

__all__ = [
    "PREPARING",
    "Batch",
    "FileSource",
    "FolderSource",
    "HubSource",
    "PreparedSource",
    "Source",
    "Split",
    "arrow_folder",
    "fingerprint",
    "hub_imagenet",
    "ilsvrc_folder",
    "load_batch",
    "open_held_out",
    "open_photographs",
    "open_source",
    "shuffled",
    "split",
    "subset",
]
