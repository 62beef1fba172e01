"""Makes a W&B workspace for NoGAN runs: phases, inflection points, color against PSNR, grids, importance of settings.

    nogan dashboard ENTITY/PROJECT             # make it, and print its address
    nogan dashboard ENTITY/PROJECT --dry-run   # print its definition; asks nothing of the network

Needs `pip install -e ".[dashboard]"` and a login to W&B.
"""

from typing import Any

from nogan.common.errors import UserError

NAME = "NoGAN"
PINNED = [  # columns of the list of runs
    *(f"config:{key}" for key in ("choices.value.model", "choices.value.data", "nogan.value.gan.lr")),
    *(f"summary:val/{key}" for key in ("colorfulness_ratio", "psnr", "chroma_fd")),
]
IMAGES, GAN_BATCH = "nogan/images_seen", "gan/total_step"


def build_workspace(entity: str, project: str) -> Any:
    """Build the workspace, a ``wandb_workspaces.workspaces.Workspace``, without sending it.

    Raises:
        UserError: ``wandb-workspaces`` is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ModuleNotFoundError:
        raise UserError('the dashboard needs a package that is not there: pip install -e ".[dashboard]"') from None

    def line(title: str, *metrics: str, x: str = IMAGES, **options: Any) -> Any:
        return wr.LinePlot(title=title, x=x, y=list(metrics), smoothing_factor=0, **options)

    sections = {
        "Pictures": [
            wr.MediaBrowser(
                title="Grids (gray | output | truth), by step and run",
                media_keys=["samples"],
                mode="grid",
                grid_x_axis="step",
                grid_y_axis="run",
            ),
            wr.MediaBrowser(
                title="At the inflection points", media_keys=["inflection/samples"], mode="gallery", gallery_axis="run"
            ),
        ],
        "Color": [
            wr.ScatterPlot(
                title="Colorfulness against PSNR, at the end",
                x=wr.SummaryMetric("val/psnr"),
                y=wr.SummaryMetric("val/colorfulness_ratio"),
            ),
            line("Colorfulness (truth: 1)", "val/colorfulness_ratio"),
            line("PSNR", "val/psnr"),
            line("Chroma Fréchet distance", "val/chroma_fd"),
            line("Orange-red pixels", "val/orange_red", "val/orange_red_truth"),
            line("Casts", "val/a_shift", "val/b_shift"),
            line("Flicker: moved and scaled input", "val/shift_variation", "val/scale_variation"),
        ],
        "GAN phases and inflection": [
            line("Critic's loss, smoothed", "gan/critic_loss_smooth", x=GAN_BATCH),
            line("Critic's loss", "gan/critic_loss", x=GAN_BATCH),
            line("Critic batches for each generator batch", "gan/critic_steps_per_generator_step", x=GAN_BATCH),
            line("Generator's losses", "gan/adversarial_loss", "gan/feature_loss", x=GAN_BATCH),
            wr.ScatterPlot(
                title="Inflection point (batch) against the GAN's learning rate",
                x=wr.Config("nogan.gan.lr"),
                y=wr.SummaryMetric("inflection/step"),
                log_x=True,
            ),
            line("Colorfulness at inflection points", "inflection/colorfulness_ratio", x="inflection/cycle"),
        ],
        "Phases": [
            line("Phase of the plan", "nogan/phase"),
            line("Generator alone", "generator/loss", log_y=True),
            line("Critic alone", "critic/loss", "critic/accuracy"),
            line("Learning rates", "lr/generator", "lr/critic", log_y=True),
        ],
        "Which setting matters": [
            wr.ParameterImportancePlot(with_respect_to="val/chroma_fd"),
            wr.ParameterImportancePlot(with_respect_to="val/colorfulness_ratio"),
            wr.ParallelCoordinatesPlot(
                title="Settings to results",
                columns=[
                    wr.ParallelCoordinatesPlotColumn(wr.Config("nogan.gan.lr"), log=True),
                    wr.ParallelCoordinatesPlotColumn(wr.Config("nogan.gan.weights.feature")),
                    wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("val/colorfulness_ratio")),
                    wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("val/chroma_fd"), inverted=True),
                ],
            ),
            wr.RunComparer(diff_only=True),
        ],
    }
    return ws.Workspace(
        name=NAME,
        entity=entity,
        project=project,
        sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in sections.items()],
        settings=ws.WorkspaceSettings(x_axis=IMAGES),
        runset_settings=ws.RunsetSettings(pinned_columns=PINNED),
    )


def definition(workspace: Any) -> dict[str, Any]:
    """The definition of ``workspace`` that W&B would be sent, as plain values."""
    return workspace._to_model().spec.model_dump(mode="json", by_alias=True, exclude_none=True)


def save(workspace: Any) -> str:
    """Make ``workspace`` at W&B; returns its address.

    Raises:
        UserError: W&B did not take it, with its reason.
    """
    try:
        workspace.save()
    except Exception as error:  # no login, no network, no such project: W&B's own words say which
        raise UserError(f"W&B did not take the workspace: {' '.join(str(error).split())}") from error
    return workspace.url
