"""Logs the run to W&B, so that no trouble with W&B stops or slows training.

A thread of its own talks to W&B; training hands over and goes on. If W&B fails, at the start or later, the
log says so once and the run goes on without it; ``metrics.csv`` has everything.

=====================================  =================================================================================
config                                 the whole config, and ``choices`` (``model: artistic``), versions, git commit
group, job type, tags                  the sweep or experiment; ``trial`` or ``train``; model, data and recipe
``val/*``, ``generator/*`` …           against ``nogan/images_seen``
``gan/*``                              against ``gan/total_step``: GAN batches of the run
``samples``                            the fixed grid (gray | output | truth) at each snapshot
``inflection/*``                       at the end of a GAN phase: where its inflection point was, metrics and grid there
``plan``                               every phase, as a table
summary                                ``val/*`` of the final generator, ``best/*``, ``inflection/*``
=====================================  =================================================================================
"""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers.logger import Logger

from nogan.evaluation.measures import MEASURES
from nogan.plan import Plan, as_rows
from nogan.plan.config import RunConfig
from nogan.runs.environment import environment
from nogan.runs.records import PhaseRecord, final_metrics
from nogan.runs.run_folder import RunFolder

log = logging.getLogger(__name__)

PENDING = 10_000  # calls that may wait for W&B; beyond them points are left out
PATIENCE = 10.0  # s that training waits for W&B to start, before it begins without it
INIT_TIMEOUT = 30.0  # s without an answer, after which W&B counts as out of reach
FINISH_TIMEOUT = 60.0  # s that the end of a run waits for uploads
OFFLINE = {"offline", "disabled", "dryrun"}


class WandB(Logger):
    """Lightning's logger for W&B, which never raises and never waits for long.

    Args:
        config: the run's configuration, with ``logger.wandb``.
        folder: the run folder; W&B's files go to ``wandb/`` in it.
        choices: the chosen config groups.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, choices: Mapping[str, str]) -> None:
        super().__init__()
        assert config.logger.wandb is not None
        self.config, self.settings = config, config.logger.wandb
        self.folder, self.choices = folder, dict(choices)
        self.run: Any = None
        self.trouble: str | None = None
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(PENDING)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._left_out = 0
        self._do(self._init)
        self._thread.start()
        self._ready.wait(PATIENCE)

    @property
    def name(self) -> str:
        """The project."""
        return self.settings.project

    @property
    def version(self) -> str:
        """The id of the run."""
        return self.folder.wandb_id()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one point."""
        point = dict(metrics)
        self._do(lambda: self.run.log(point, step=step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """W&B has the whole config from the start."""

    def log_image(
        self, key: str, images: Sequence[Image.Image], step: int | None = None, caption: Sequence[str] | None = None
    ) -> None:
        """Log pictures."""

        def send() -> None:
            import wandb

            captions: Sequence[str | None] = caption or [None] * len(images)
            self.run.log({key: [wandb.Image(i, caption=c) for i, c in zip(images, captions, strict=True)]}, step=step)

        self._do(send)

    def begin(self, plan: Plan) -> None:
        """Log the plan, as a table."""

        def send() -> None:
            import wandb

            rows = as_rows(plan)
            columns = list(dict.fromkeys(key for row in rows for key in row))
            cells = [[row.get(column) for column in columns] for row in rows]
            data = [[str(cell) if isinstance(cell, list | tuple) else cell for cell in row] for row in cells]
            self.run.log({"plan": wandb.Table(columns=[*columns], data=data)}, step=self.run.step)

        self._do(send)

    def inflection(self, record: PhaseRecord, picture: Path | None, images_seen: int, step: int) -> None:
        """Mark the inflection point of a GAN phase that ended with a verdict, with the metrics and the grid there."""
        verdict = record.verdict
        assert verdict is not None

        def send() -> None:
            import wandb

            marked: dict[str, Any] = {
                "inflection/cycle": record.cycle,
                "inflection/step": verdict.inflection,
                "inflection/seen_at": verdict.seen_at,
                "nogan/cycle": record.cycle,
                "nogan/images_seen": images_seen,
                **{f"inflection/{name}": value for name, value in (record.metrics or {}).items()},
            }
            self.run.summary.update({"inflection/detector": verdict.detector})
            if picture:
                point = f"inflection at batch {verdict.inflection}" if verdict.inflection else "no gain"
                caption = f"cycle {record.cycle}, {point}: {verdict.reason}"
                marked["inflection/samples"] = wandb.Image(str(picture), caption=caption)
            self.run.log(marked, step=step)

        self._do(send)

    def conclude(self, records: Sequence[PhaseRecord]) -> None:
        """Sum up: metrics of the final generator (after a rollback not those logged last), best ones, cost, weights."""
        final = final_metrics(records)
        summary = {f"val/{name}": value for name, value in final.items()}
        summary |= self._best()
        summary["nogan/seconds"] = sum(record.seconds for record in records)
        # The point under way goes out first: it would overwrite the summary.
        self._do(lambda: self.run.log({"nogan/phase": len(records) - 1}, commit=True))
        self._do(lambda: self.run.summary.update(summary))
        if self.settings.upload_weights:
            self._do(lambda: self._upload(final))

    def _best(self) -> dict[str, float]:
        """The best of each measure in which higher or lower is better, over the whole run, also if it was resumed."""
        rows = self.folder.metrics()
        values = {m: [row[f"val/{m.key}"] for row in rows if f"val/{m.key}" in row] for m in MEASURES.values()}
        return {f"best/{m.key}": min(v, key=m.badness) for m, v in values.items() if v and m.better is not None}

    def close(self) -> None:
        """End the W&B run, so that the next job in this process begins its own; waits for uploads, but not forever."""
        self._do(self._finish)
        with contextlib.suppress(queue.Full):
            self._tasks.put(None, timeout=1)
        self._thread.join(FINISH_TIMEOUT + 5)
        if self._thread.is_alive():
            self._give_up(TimeoutError(f"still not done after {FINISH_TIMEOUT:.0f} s"))
        if self._left_out:
            log.warning("W&B did not keep up: %d points are missing there; metrics.csv has all", self._left_out)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _do(self, task: Callable[[], None]) -> None:
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._left_out += 1

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.trouble is None:
                try:
                    task()
                except Exception as error:  # whatever W&B raises, training goes on
                    self._give_up(error)
            self._ready.set()

    def _give_up(self, error: Exception) -> None:
        if self.trouble is None:
            self.trouble = " ".join(str(error).split()) or type(error).__name__
            log.warning(
                "W&B: %s. The run goes on without it; metrics.csv and report.html have everything", self.trouble
            )

    def _init(self) -> None:
        import wandb

        offline = not logged_in()
        try:
            self.run = wandb.init(**self._init_arguments(offline))
        except Exception as error:
            if offline:
                raise
            log.warning("W&B is out of reach (%s): offline for this run", " ".join(str(error).split())[:200])
            wandb.teardown()  # its service holds on to the run's id
            self.run = wandb.init(**self._init_arguments(offline=True))
        for axis, metrics in AXES.items():
            self.run.define_metric(axis)
            for name in metrics:
                self.run.define_metric(name, step_metric=axis)

    def _init_arguments(self, offline: bool) -> dict[str, Any]:
        import wandb

        config, about = self.config, environment()
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            reinit="finish_previous",
        )
        in_sweep = "WANDB_SWEEP_ID" in os.environ  # a W&B agent has chosen project and id itself
        project = {"project": self.settings.project, "entity": self.settings.entity}
        where = {} if in_sweep else {**project, "id": self.version}
        return {
            **where,
            "name": f"{config.name}/{self.folder.path.resolve().name}",
            "group": None if in_sweep else self.group,
            "job_type": "trial" if in_sweep or self.sweep else "train",
            "tags": self.tags,
            "dir": str(self.folder),
            "mode": "offline" if offline else "online",
            "resume": None if offline or in_sweep else "allow",
            "settings": settings,
            "config": {
                **config.model_dump(mode="json"),
                "choices": self.choices,
                "packages": about["packages"],
                "git": about["git"],
                "command": about["command"],
            },
        }

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that this run is a trial of."""
        return self.folder.sweep

    @property
    def group(self) -> str:
        """The sweep, or else the experiment, or else the run's name."""
        if self.sweep:
            return f"{self.sweep.parent.name}/{self.sweep.name}"
        experiment = self.choices.get("experiment")
        return experiment if experiment and experiment != "None" else self.config.name

    @property
    def tags(self) -> list[str]:
        """Model, data and recipe."""
        scale = self.choices.get("recipe_scale", "x1")
        recipe = self.choices.get("nogan", self.config.model.name)
        tags = [f"model:{self.config.model.name}", f"data:{self.config.data.kind}", f"recipe:{recipe}"]
        return tags + ([f"recipe:{scale}"] if scale != "x1" else [])

    def _upload(self, metrics: Mapping[str, float]) -> None:
        import wandb

        artifact = wandb.Artifact(f"generator-{self.run.id}", "model", metadata={"run": self.config.name, **metrics})
        weights = self.folder.generator()
        for file in (weights, weights.with_suffix(".json")):
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def _finish(self) -> None:
        if self.run is not None:
            self.run.finish()


AXES = {
    "nogan/images_seen": ("val/*", "generator/*", "critic/*", "lr/*", "inflection/*", "nogan/phase", "nogan/cycle"),
    "gan/total_step": ("gan/*",),
}


def logged_in() -> bool:
    """Whether W&B has credentials (and is not told to stay offline), without asking it over the network."""
    if os.environ.get("WANDB_MODE") in OFFLINE:
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def sync_hint(folder: RunFolder) -> str | None:
    """How to upload the offline W&B runs in ``folder`` (several if it was resumed); None if there is none."""
    runs = sorted(folder.wandb.glob("offline-run-*"))
    paths = " ".join(os.path.relpath(run) for run in runs)
    return f"W&B is offline; to upload: wandb sync {paths}" if runs else None
