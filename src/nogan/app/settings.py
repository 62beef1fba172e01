"""What a person sets in the page, as the options of ``nogan colorize``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from nogan.app.models import Model, Models, Progress
from nogan.colorize.adjustments import Adjustments, Tint
from nogan.colorize.batch import BatchOptions
from nogan.colorize.square import RenderFactor, network_size
from nogan.common.errors import UserError

MOST_MODELS = 8
"""Side by side."""

MOST_TASTE = 4.0
"""Largest saturation."""

PREVIEW_SECONDS = (1.0, 20.0)


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
        options: of the command. ``stabilize`` counts for films only, so that photographs do not depend on it.
        part: of a film, for its preview; None for the whole.
    """

    models: tuple[tuple[Model, float], ...]
    options: BatchOptions = field(hash=False)  # it holds a mapping
    part: Part | None = None

    @property
    def title(self) -> str:
        """What a person reads above a result."""
        names = [model.title.partition(" (")[0] for model, _ in self.models]
        if len(names) == 1:
            return names[0]
        return " + ".join(f"{name} {weight:.0%}" for name, (_, weight) in zip(names, self.models, strict=True))

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
            words += ["--blend", *(f"{checkpoint}:{weight:g}" for checkpoint, weight in named)]
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
    preview_at: float = 0.25
    preview_seconds: float = 4.0

    def recipes(self, models: Models, device: str | None, kind: Literal["photograph", "film"]) -> list[Recipe]:
        """One recipe, or one for each of several models side by side; of films, for a preview.

        Raises:
            UserError: no model, or a value out of range.
        """
        if not 0 < len(self.models) <= MOST_MODELS:
            raise UserError(f"{len(self.models) or 'no'} models are chosen: choose 1 to {MOST_MODELS}")
        options = self._options(device)
        part = Part(self.preview_at, self.preview_seconds) if kind == "film" else None
        if kind == "photograph":
            options = replace(options, stabilize=0.0)
        chosen = [models.find(key) for key in dict.fromkeys(self.models)]
        if self.blend is None or len(chosen) != 2:
            return [Recipe(((model, 1.0),), options, part) for model in chosen]
        shares = (round(self.blend, 4), round(1 - self.blend, 4))
        mixed = tuple((model, share) for model, share in zip(chosen, shares, strict=True) if share > 0)
        return [Recipe(mixed if len(mixed) > 1 else ((mixed[0][0], 1.0),), options, part)]

    def _options(self, device: str | None) -> BatchOptions:
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
        return BatchOptions(
            render_factor=self.render_factor,
            vividness=self.vividness,
            adjustments=Adjustments(self.saturation, tint),
            stabilize=self.stabilize,
            device=device,
        )
