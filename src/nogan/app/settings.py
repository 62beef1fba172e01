"""What a person sets in the page, as the options of ``nogan colorize``."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nogan.app.models import Model, Models, Progress
from nogan.colorize.adjustments import Adjustments, Tint
from nogan.colorize.batch import BatchOptions
from nogan.colorize.blending import Blending
from nogan.colorize.film import FilmOptions
from nogan.colorize.film.encoding import check_encoder
from nogan.colorize.flags import FLAGS, Flag, check
from nogan.colorize.square import RenderFactor, network_size
from nogan.common.errors import UserError

MOST_MODELS = 8
"""Side by side."""

MOST_TASTE = 4.0
"""Largest saturation."""

PREVIEW_SECONDS = (1.0, 20.0)


_PHOTOGRAPHS = frozenset({"blend", "colors", "result", "photographs"})
"""Groups of options that count for photographs; for films it is all but that of photographs."""


class WrongValue(UserError):
    """What was written into a control of the page is none of its values.

    Attributes:
        control: name of the option.
    """

    def __init__(self, control: str, reason: str) -> None:
        super().__init__(f"{control}: {reason}")
        self.control, self.reason = control, reason


class Part(NamedTuple):
    """A part of a film, to look at before the whole is colored."""

    at: float
    """Where it begins, from 0 to 1."""
    seconds: float


@dataclass(frozen=True)
class Recipe:
    """One way to color: models with their weights, and options.

    Attributes:
        models: each with its weight; several are blended.
        options: of the command. What counts for films only is not in those of photographs, which do not depend on it.
        more: what of it was written into controls of the table (:data:`~nogan.colorize.flags.FLAGS`), by their names.
        part: of a film, for its preview; None for the whole.
    """

    models: tuple[tuple[Model, float], ...]
    options: BatchOptions = field(hash=False)  # it holds a mapping
    more: tuple[tuple[str, str], ...] = ()
    part: Part | None = None

    @property
    def title(self) -> str:
        """What a person reads above a result."""
        names = [model.title.partition(" (")[0] for model, _ in self.models]
        if len(names) == 1:
            return names[0]
        if self._is_placed:
            return " + ".join(names)
        return " + ".join(f"{name} {weight:.0%}" for name, (_, weight) in zip(names, self.models, strict=True))

    @property
    def _is_placed(self) -> bool:
        """Whether it is not the weights of its models that say where there is how much of each."""
        return self.options.blending.luma is not None or self.options.blend_mask is not None

    @property
    def details(self) -> str:
        """What a person reads behind the title: the settings that are not the usual ones."""
        options, taste = self.options, self.options.adjustments
        factor = options.render_factor
        words = ["" if factor == "auto" else f"factor {factor or 'its own'}"]
        words.append("" if taste.saturation == 1 else f"saturation {taste.saturation:g}")
        words.append("" if options.vividness is None else f"vividness {options.vividness:g}")
        words.append("" if taste.tint is None else f"tint {taste.tint.hue:g}°, {taste.tint.amount:g}")
        words.append(f"steadier {options.stabilize:g}" if options.stabilize else "")
        words.append("" if options.blend_mask is None else f"by {options.blend_mask.name}")
        words += [name if FLAGS[name].is_switch else f"{name} {text}" for name, text in self.more]
        return ", ".join(filter(None, words))

    def checkpoints(self, models: Models, progress: Progress | None = None) -> dict[str, float]:
        """What :func:`~nogan.colorize.batch.colorize_files` takes; weights are fetched first, if need be.

        Raises:
            UserError: a model cannot be had.
        """
        return {models.checkpoint(model, progress): weight for model, weight in self.models}

    def command(self, name: str, *, film: bool) -> str:
        """The command line that gives the same file from the file ``name``."""
        picked = [model for model, _ in self.models if model.snapshot is not None]
        files = {model.key: f"snapshot{n or ''}.safetensors" for n, model in enumerate(picked)}
        lines = []
        for model in picked:
            cycle, step = model.snapshot or (0, 0)
            words = ["nogan", "snapshots", model.checkpoint, "--pick", str(step), "--cycle", str(cycle)]
            lines.append(shlex.join([*words, "-o", files[model.key]]))
        named = [(files.get(model.key, model.checkpoint), weight) for model, weight in self.models]
        words = ["nogan", "colorize", name, "-o", "colored/"]
        if len(named) == 1:
            words += ["--checkpoint", named[0][0]]
        else:
            words.append("--blend")
            words += [checkpoint if self._is_placed else f"{checkpoint}:{weight:g}" for checkpoint, weight in named]
        return "\n".join([*lines, shlex.join([*words, *self._flags(film)])])

    def _flags(self, film: bool) -> list[str]:
        options, taste = self.options, self.options.adjustments
        words: list[str] = []
        if options.render_factor is not None:
            words += ["--render-factor", str(options.render_factor)]
        if options.vividness is not None:
            words += ["--vividness", f"{options.vividness:g}"]
        if taste.saturation != 1:
            words += ["--saturation", f"{taste.saturation:g}"]
        if taste.tint is not None:
            words += ["--tint", f"{taste.tint.hue:g}:{taste.tint.amount:g}"]
        if film and options.stabilize:
            words += ["--stabilize", f"{options.stabilize:g}"]
        if options.blend_mask is not None:
            words += ["--blend-mask", options.blend_mask.name]
        for name, text in self.more:
            words += FLAGS[name].words(text)
        if options.device is not None:
            words += ["--device", options.device]
        return words


@dataclass(frozen=True)
class Settings:
    """What the controls of the page say.

    Attributes:
        models: keys of one or several models.
        blend: share of the first of two models, whose chroma is mixed; None has all models side by side.
        render_factor: as in :class:`~nogan.colorize.batch.BatchOptions`; so is ``vividness``.
        saturation: factor of all chroma.
        tint_hue: degrees, of a shift of all colors by ``tint_amount`` levels of 255.
        tint_amount: see there; 0 shifts nothing.
        stabilize: of films, from 0 to 1.
        more: what is written into the controls of the table (:data:`~nogan.colorize.flags.FLAGS`), by their names;
            only those that differ from what they are by themselves.
        preview_at: where in a film its preview begins, from 0 to 1.
        preview_seconds: how long that is.
    """

    models: tuple[str, ...]
    blend: float | None = None
    render_factor: RenderFactor | None = "auto"
    vividness: float | None = None
    saturation: float = 1.0
    tint_hue: float = 40.0
    tint_amount: float = 0.0
    stabilize: float = 0.0
    more: Mapping[str, str] = field(default_factory=dict)
    preview_at: float = 0.25
    preview_seconds: float = 4.0

    def recipes(
        self, models: Models, device: str | None, kind: Literal["photograph", "film"], mask: Path | None = None
    ) -> list[Recipe]:
        """One recipe, or one for each of several models side by side; of films, for a preview.

        Args:
            models: to choose from.
            device: that the networks run on.
            kind: of the files.
            mask: a gray picture that says where the second of two blended models is.

        Raises:
            WrongValue: what is written into a control of the table.
            UserError: no model, or a value out of range.
        """
        if not 0 < len(self.models) <= MOST_MODELS:
            raise UserError(f"{len(self.models) or 'no'} models are chosen: choose 1 to {MOST_MODELS}")
        chosen = [models.find(key) for key in dict.fromkeys(self.models)]
        blended = self.blend is not None and len(chosen) == 2
        more = {name: text for name, text in self.more.items() if blended or FLAGS[name].group != "blend"}
        given = values_of(more)
        more = {name: text for name, text in more.items() if _counts(FLAGS[name], kind)}
        options = self._options(device, {FLAGS[name].field: given[FLAGS[name].field] for name in more})
        part = Part(self.preview_at, self.preview_seconds) if kind == "film" else None
        if kind == "photograph":
            options = replace(options, stabilize=0.0)
        if not blended:
            return [Recipe(((model, 1.0),), options, tuple(more.items()), part) for model in chosen]
        options = replace(options, blend_mask=mask)
        placed = options.blending.luma is not None or mask is not None
        shares = (1.0, 1.0) if placed else (round(self.blend or 0.0, 4), round(1 - (self.blend or 0.0), 4))
        mixed = tuple((model, share) for model, share in zip(chosen, shares, strict=True) if share > 0)
        with _blamed("blend-luma" if options.blending.luma is not None else "blend-limit"):
            options.blending.check([share for _, share in mixed], masked=mask is not None)
        return [Recipe(mixed if len(mixed) > 1 else ((mixed[0][0], 1.0),), options, tuple(more.items()), part)]

    def _options(self, device: str | None, given: Mapping[str, Any]) -> BatchOptions:
        if self.render_factor not in (None, "auto"):
            network_size(self.render_factor)
        for name, value, most in (
            ("saturation", self.saturation, MOST_TASTE),
            ("stabilize", self.stabilize, 1.0),
            ("preview at", self.preview_at, 1.0),
            ("blend", self.blend or 0.0, 1.0),
        ):
            if not 0 <= value <= most:
                raise UserError(f"{name} {value:g}: expected 0 to {most:g}")
        if not PREVIEW_SECONDS[0] <= self.preview_seconds <= PREVIEW_SECONDS[1]:
            low, high = PREVIEW_SECONDS
            raise UserError(f"a preview of {self.preview_seconds:g} s: expected {low:g} to {high:g}")
        tint = Tint(self.tint_hue, self.tint_amount) if self.tint_amount else None
        left = dict(given)
        hues, shadows = tuple(left.pop("hue_limits", ())), left.pop("shadows", 1.0)
        return BatchOptions(
            render_factor=self.render_factor,
            vividness=self.vividness,
            adjustments=Adjustments(self.saturation, tint, hues, shadows),
            blending=Blending(left.pop("blend_luma", None), left.pop("blend_limit", None)),
            stabilize=self.stabilize,
            device=device,
            **{**left, "encoder_options": dict(left.get("encoder_options", ()))},
        )


def _counts(flag: Flag, kind: Literal["photograph", "film"]) -> bool:
    return flag.group in _PHOTOGRAPHS if kind == "photograph" else flag.group != "photographs"


def values_of(more: Mapping[str, str]) -> dict[str, Any]:
    """The values of what is written into controls of the table, by their names in Python.

    Raises:
        WrongValue: what is written into one of them is no value, out of range, or contradicts another.
    """
    found: dict[str, Any] = {}
    for name, text in more.items():
        flag = FLAGS[name]
        with _blamed(name):
            found[flag.field] = flag.value(text)
            check({flag.field: found[flag.field]})
    with _blamed("end"):
        check(found)
    encoder = {name: found[FLAGS[name].field] for name in more if FLAGS[name].group == "encoder"}
    if encoder:
        _check_encoder(encoder)
    return found


def _check_encoder(given: Mapping[str, Any]) -> None:
    """Try the values of the encoder one after the other, so that the wrong one is known."""
    tried: dict[str, Any] = {}
    for name in ("codec", "crf", "pix-fmt", "preset", "encoder-option"):
        if name in given:
            tried[FLAGS[name].field] = dict(given[name]) if name == "encoder-option" else given[name]
            with _blamed(name):
                check_encoder(FilmOptions(**tried))


@contextlib.contextmanager
def _blamed(control: str) -> Iterator[None]:
    """Say of an error which control it is about."""
    try:
        yield
    except UserError as error:
        raise WrongValue(control, str(error)) from error
