"""The page's controls, by gradio. What they start is done by the studio; cards and uploads are ``static/app.js``'s."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from nogan.app.models import Model
from nogan.app.server import COOKIE
from nogan.app.settings import MOST_MODELS, PREVIEW_SECONDS, Settings, WrongValue, values_of
from nogan.app.studio import Album, NotThere, Studio
from nogan.colorize.film import FILM_SUFFIXES
from nogan.colorize.flags import FLAGS, Flag
from nogan.colorize.jobs import READ_SUFFIXES
from nogan.colorize.photos import PHOTO_SUFFIXES
from nogan.colorize.square import MAX_RENDER_FACTOR, MIN_RENDER_FACTOR, PHOTO_RENDER_FACTOR
from nogan.common.errors import UserError
from nogan.common.files import in_words

AUTO, OWN, FIXED = "Auto", "The model's own", "Fixed"
SIDE_BY_SIDE, BLENDED = "Side by side", "Blended into one"

HEAD = '<link rel="stylesheet" href="/studio/static/app.css"><script src="/studio/static/app.js" defer></script>'

TOP = """
<div id="top"><h1>Color for old photographs and film</h1>
<p>Everything happens on {where}. Nothing is sent anywhere else.</p>
<label id="drop" data-most="{most}"><strong>Drop photographs or a film here, or choose files</strong>
<span>Up to {words} each. Colors are added at once, with the settings below.</span>
<input id="files" class="unseen" type="file" multiple accept="{accept}"
aria-label="Choose photographs or films"></label>
<p id="notice" role="status" aria-live="polite"></p></div>
"""

ALBUM = """
<div id="app-cards">
<div id="summary" hidden><span id="count" role="status" aria-live="polite"></span>
<a id="zip" class="button" href="/studio/all.zip" download hidden>Download all (ZIP)</a>
<button type="button" class="quiet" data-post="/studio/remove-all">Remove all</button></div>
<div id="cards"></div></div>
"""


MASK = """
<div id="mask"><label for="mask-file"><strong>blend-mask</strong> <span>the second of two where a gray picture is white,
stretched to each file</span></label>
<input id="mask-file" type="file" accept="{accept}">
<p id="mask-now" hidden><span></span> <button type="button" class="quiet" data-post="/studio/mask/remove">Remove the
mask</button></p>
<p id="mask-wrong" class="wrong" role="alert"></p></div>
"""

HEADINGS = {
    "colors": "Colors",
    "result": "Result",
    "photographs": "Photographs",
    "film": "Film",
    "encoder": "Film: encoder",
}
"""Of the groups of options in the fold for the advanced."""


def build_page(studio: Studio, *, local: bool) -> gr.Blocks:
    """The page.

    Args:
        studio: does the work.
        local: whether the server is for this machine only, for what the page says of itself.
    """
    offered, snapshots = studio.models.offered(), studio.models.snapshots()
    with gr.Blocks(title="nogan", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_top(studio, local))
        with gr.Row(elem_id="work"):
            with gr.Column(scale=1, min_width=290, elem_id="settings"):
                controls = _Controls(offered, snapshots, local=local)
                again = gr.Button("Color again", variant="primary", elem_id="again")
            with gr.Column(scale=3, min_width=300):
                gr.HTML(ALBUM)
        added = gr.Button("added", elem_id="added", elem_classes="unseen")
        inputs = controls.inputs
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        refresh = "() => window.nogan.refresh()"
        for button, do in ((added, studio.color_new), (again, studio.color)):
            answer = _answering(studio, do, controls)
            button.click(answer, inputs, controls.lines, **quick).then(None, None, None, js=refresh)
        page.load(controls.restoring(studio), None, inputs, **quick)
        controls.connect(studio, quick)
    return page


def _top(studio: Studio, local: bool) -> str:
    kinds = PHOTO_SUFFIXES | READ_SUFFIXES | FILM_SUFFIXES
    return TOP.format(
        where="this computer" if local else "the computer that this page comes from",
        most=studio.most_bytes,
        words=in_words(studio.most_bytes).replace(".00 ", " ").replace(".0 ", " "),
        accept=escape(",".join(sorted(kinds))),
    )


class _Controls:
    """The controls, in the order in which :meth:`settings` gets their values.

    Args:
        offered: models to choose from.
        snapshots: likewise.
        local: whether the page is for this machine only. Options of an encoder, which may name files for it to write,
            are not for others.
    """

    def __init__(self, offered: list[Model], snapshots: list[Model], *, local: bool) -> None:
        self._table: dict[str, _OfTable] = {}
        self.models = gr.Dropdown(
            [(model.title, model.key) for model in offered],
            value=[offered[0].key],
            multiselect=True,
            max_choices=MOST_MODELS,
            label="Model",
            info="Choose several to see them side by side.",
            elem_id="models",
        )
        self.mix = gr.Radio([SIDE_BY_SIDE, BLENDED], value=SIDE_BY_SIDE, label="Two models", visible=False)
        self.share = gr.Slider(0, 1, 0.5, step=0.05, label="Share of the first model", visible=False)
        with gr.Accordion("Blend by luma, by a mask, or limited", open=False, visible=False) as self.blending:
            self._add("blend")
            gr.HTML(MASK.format(accept=escape(",".join(sorted(PHOTO_SUFFIXES | READ_SUFFIXES)))))
        self.factor = gr.Radio([AUTO, OWN, FIXED], value=AUTO, label="Render factor", elem_id="factor")
        self.fixed = gr.Slider(
            MIN_RENDER_FACTOR,
            MAX_RENDER_FACTOR,
            PHOTO_RENDER_FACTOR,
            step=1,
            label="Low is vivid and coarse, high is fine and pale",
            visible=False,
            elem_id="fixed",
        )
        self.saturation = gr.Slider(0, 2, 1, step=0.05, label="Saturation", elem_id="saturation")
        self.vividness = gr.Slider(0, 1, 1, step=0.05, label="Vividness: steady to vivid", visible=False)
        with gr.Accordion("Tint", open=False):
            self.amount = gr.Slider(0, 40, 0, step=1, label="Strength", elem_id="tint")
            self.hue = gr.Slider(0, 360, 40, step=5, label="Hue: 0 red, 60 yellow, 120 green, 240 blue", elem_id="hue")
        with gr.Accordion("Film", open=False):
            self.stabilize = gr.Slider(
                0, 1, 1, step=0.05, label="Steadier color (against flicker)", elem_id="stabilize"
            )
            self.at = gr.Slider(0, 95, 25, step=5, label="The preview begins at … % of the film")
            self.seconds = gr.Slider(*PREVIEW_SECONDS, 4, step=1, label="Seconds of preview")
        with gr.Accordion("Snapshots of a run", open=False, visible=bool(snapshots)):
            self.snapshots = gr.Dropdown(
                [(model.title, model.key) for model in snapshots],
                value=[],
                multiselect=True,
                max_choices=MOST_MODELS,
                label="Snapshots",
                info="Shown beside the models above.",
            )
        with gr.Accordion("Advanced", open=False, elem_id="advanced") as self.advanced:
            for group, heading in HEADINGS.items():
                gr.Markdown(f"**{heading}**")
                self._add(group, without=() if local else ("encoder-option",))

    def _add(self, group: str, without: Sequence[str] = ()) -> None:
        """The controls of a group of the table."""
        for flag in FLAGS.values():
            if flag.group == group and flag.name not in without:
                self._table[flag.name] = _OfTable(flag)

    @property
    def lines(self) -> list[Any]:
        """What says what is wrong, beside each control of the table, and the folds that they are in."""
        return [*(one.line for one in self._table.values()), self.advanced, self.blending]

    def said(self, wrong: WrongValue | None, values: Sequence[Any]) -> list[Any]:
        """The values of :attr:`lines`: what is wrong with those of all controls, or with them together."""
        of_table = values[-len(self._table) :]
        lines: list[Any] = [
            one.said(wrong) if wrong is not None and wrong.control == name else one.checked(value)
            for (name, one), value in zip(self._table.items(), of_table, strict=True)
        ]
        place = "" if wrong is None else FLAGS[wrong.control].group
        folds = (place not in ("", "blend"), place == "blend")
        return [*lines, *(gr.Accordion(open=True) if here else gr.skip() for here in folds)]

    def written(self, values: Sequence[Any]) -> dict[str, str]:
        """What is written into those of the table, where it is not what they are by themselves."""
        texts = {name: one.text(value) for (name, one), value in zip(self._table.items(), values, strict=True)}
        return {name: text for name, text in texts.items() if text is not None}

    @property
    def inputs(self) -> list[Any]:
        """All of them."""
        return [
            *(self.models, self.snapshots, self.mix, self.share, self.factor, self.fixed, self.saturation),
            *(self.vividness, self.amount, self.hue, self.stabilize, self.at, self.seconds),
            *(one.control for one in self._table.values()),
        ]

    def connect(self, studio: Studio, quick: dict[str, Any]) -> None:
        """Show those that have an effect, and no others."""
        choice: list[Any] = [self.models, self.snapshots, self.mix]
        shown: list[Any] = [self.mix, self.share, self.vividness, self.blending]
        for control in choice:
            control.change(lambda *values: _shown(studio, *values), choice, shown, **quick)
        for one in self._table.values():
            if one.is_text:
                one.control.blur(one.checked, one.control, one.line, **quick)
        self.factor.change(lambda factor: gr.Slider(visible=factor == FIXED), self.factor, self.fixed, **quick)

    def restoring(self, studio: Studio) -> Callable[[gr.Request], list[Any]]:
        """A function of gradio's, which gives what a page begins with."""

        def restore(request: gr.Request) -> list[Any]:
            return self._restored(studio, _album(studio, request))

        return restore

    def _restored(self, studio: Studio, album: Album) -> list[Any]:
        """The values used last, and the models that there are now."""
        offered, snapshots = studio.models.offered(), studio.models.snapshots()
        keys = {model.key for model in offered}, {model.key for model in snapshots}
        used = album.settings
        if used is None:
            values: list[Any] = [gr.skip()] * len(self.inputs)
            values[0] = gr.Dropdown([(model.title, model.key) for model in offered])
            values[1] = gr.Dropdown([(model.title, model.key) for model in snapshots])
            return values
        fixed = used.render_factor if isinstance(used.render_factor, int) else None
        factor = FIXED if fixed else AUTO if used.render_factor == "auto" else OWN
        return [
            gr.Dropdown([(m.title, m.key) for m in offered], value=[key for key in used.models if key in keys[0]]),
            gr.Dropdown([(m.title, m.key) for m in snapshots], value=[key for key in used.models if key in keys[1]]),
            SIDE_BY_SIDE if used.blend is None else BLENDED,
            0.5 if used.blend is None else used.blend,
            factor,
            gr.Slider(value=fixed or PHOTO_RENDER_FACTOR, visible=fixed is not None),
            used.saturation,
            1 if used.vividness is None else used.vividness,
            used.tint_amount,
            used.tint_hue,
            used.stabilize,
            used.preview_at * 100,
            used.preview_seconds,
            *(one.value(used.more.get(name)) for name, one in self._table.items()),
        ]


class _OfTable:
    """A control for an option of the command, with its name and help, and a line for what is wrong with its value."""

    def __init__(self, flag: Flag) -> None:
        self._flag = flag
        self.is_text = not flag.is_switch and not flag.choices
        given: dict[str, Any] = {"label": flag.name, "info": flag.help, "elem_id": f"flag-{flag.name}"}
        if flag.is_switch:
            self.control: Any = gr.Checkbox(value=flag.default, **given)
        elif flag.choices:
            self.control = gr.Radio(list(flag.choices), value=flag.default, **given)
        else:
            shown = f"{flag.metavar} {flag.metavar} …" if flag.several else flag.metavar
            self.control = gr.Textbox(placeholder=shown, max_lines=1, **given)
        self.line = gr.HTML(visible=False)

    def text(self, value: Any) -> str | None:
        """What is written there; None where it is what it is by itself."""
        if self._flag.is_switch:
            return "on" if value else None
        text = " ".join(str(value or "").split())
        return text if text and text != str(self._flag.default) else None

    def value(self, text: str | None) -> Any:
        """Inverse of :meth:`text`."""
        if self._flag.is_switch:
            return text is not None
        return text or (self._flag.default if self._flag.choices else "")

    def checked(self, value: Any) -> Any:
        """The line for a value that has just been written."""
        text = self.text(value)
        try:
            values_of({} if text is None else {self._flag.name: text})
        except WrongValue as wrong:
            return self.said(wrong)
        return self.said(None)

    def said(self, wrong: WrongValue | None) -> Any:
        """The line, if it is this control that is wrong."""
        if wrong is None or wrong.control != self._flag.name:
            return gr.HTML("", visible=False)
        return gr.HTML(f'<p class="wrong" role="alert">{escape(wrong.reason)}</p>', visible=True)


def _shown(studio: Studio, models: list[str], snapshots: list[str], mix: str) -> list[Any]:
    """Which controls have an effect: blending that of two models, vividness that of models with the knob."""
    keys = [*(models or []), *(snapshots or [])]
    two = len(keys) == 2
    blended = two and mix == BLENDED
    return [
        gr.Radio(visible=two),
        gr.Slider(visible=blended),
        gr.Slider(visible=not blended and _have_vividness(studio, keys)),
        gr.Accordion(visible=blended),
    ]


def _have_vividness(studio: Studio, keys: list[str]) -> bool:
    try:
        return bool(keys) and all(studio.models.find(key).has_vividness for key in keys)
    except UserError:
        return False


def _settings_of(studio: Studio, controls: _Controls, values: Sequence[Any]) -> Settings:
    """What the values of the controls mean."""
    models, snapshots, mix, share, factor, fixed, saturation, vividness, amount, hue, stabilize, at, seconds, *more = (
        values
    )
    keys = [*(models or []), *(snapshots or [])]
    blended = mix == BLENDED and len(keys) == 2
    return Settings(
        models=tuple(keys),
        blend=float(share) if blended else None,
        render_factor={AUTO: "auto", OWN: None}.get(factor, int(fixed)),
        vividness=float(vividness) if not blended and _have_vividness(studio, keys) else None,
        saturation=float(saturation),
        tint_hue=float(hue),
        tint_amount=float(amount),
        stabilize=float(stabilize),
        more=controls.written(more),
        preview_at=float(at) / 100,
        preview_seconds=float(seconds),
    )


def _answering(studio: Studio, do: Callable[[Album, Settings], None], controls: _Controls) -> Callable[..., list[Any]]:
    """``do`` as a function of gradio's; what a user can mend is said beside its control, or else above the page."""

    def answer(request: gr.Request, *values: Any) -> list[Any]:
        try:
            do(_album(studio, request), _settings_of(studio, controls, values))
        except WrongValue as wrong:
            return controls.said(wrong, values)
        except UserError as error:
            raise gr.Error(str(error), title="", print_exception=False) from error
        return controls.said(None, values)

    return answer


def _album(studio: Studio, request: gr.Request) -> Album:
    try:
        return studio.album(request.cookies.get(COOKIE, ""))
    except NotThere as error:
        raise gr.Error("This page has no cookie: allow cookies for it, and reload it", title="") from error
