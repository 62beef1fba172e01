"""`nogan evaluate COLORIZER... --data DIR -o results/`: measure colorizers on photographs, as papers do."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nogan.colorize.flags import positive, render_factor
from nogan.commands import parser_of, reading
from nogan.common.terminal import name_column, plain

if TYPE_CHECKING:
    from rich.progress import TaskID

    from nogan.evaluation.results import Results

FRAME = 3
"""Characters that a column of a table takes beside its text."""

EXAMPLES = """examples:
  nogan evaluate outputs/quickstart/DATE --data PHOTOS -o results/
  nogan evaluate mine=RUN theirs=their/pictures/ --data PHOTOS -o results/
  nogan evaluate RUN "blend=RUN_A:0.5+RUN_B:0.5" deoldify.pth --data IMAGENET_VAL --protocol ddcolor -o results/
  nogan evaluate --blind RUN_A RUN_B --data PHOTOS -o results/     # choose yourself, in results/blind.html
  nogan evaluate --blind choices.json -o results/                  # rank by what was chosen there
  nogan evaluate film-color.mkv --reference film.mkv -o results/
"""


def main(argv: Sequence[str]) -> None:
    """Measure, with a progress bar, and print the table."""
    arguments = parse_arguments(argv)
    if _are_choices(arguments):
        rank(list(map(Path, arguments.colorizers)), arguments.output)
        return
    if _are_films(arguments):
        measure_films(list(map(Path, arguments.colorizers)), arguments.reference, arguments.output)
        return
    from nogan.evaluation.evaluate import Options, evaluate

    options = Options(
        protocol=arguments.protocol,
        images=arguments.images,
        render_factors=tuple(arguments.render_factor),
        batch_size=arguments.batch_size,
        device=arguments.device,
        keep=arguments.keep,
        inception_weights=arguments.inception_weights,
        lpips_weights=arguments.lpips_weights,
        skip=tuple(arguments.skip),
        group_by=arguments.group_by,
    )
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun has started
    results = evaluate(arguments.colorizers, arguments.data, arguments.output, options, Bar() if first else None)
    if first:
        write_tables(results, arguments)


def write_tables(results: "Results", arguments: argparse.Namespace) -> None:
    """Write and print what people read."""
    from nogan.evaluation.results import ResultsFolder
    from nogan.evaluation.tables import latex, log_to_wandb, markdown
    from nogan.report.evaluation_page import write_evaluation_page

    folder = ResultsFolder(arguments.output)
    written = [folder.results, folder.images, folder.markdown]
    folder.markdown.write_text(markdown(results), encoding="utf-8")
    if arguments.latex:
        folder.latex.write_text(latex(results), encoding="utf-8")
        written.append(folder.latex)
    if arguments.wandb:
        log_to_wandb(results, arguments.wandb)
    show(results)
    for missing in results.missing:
        print(f"not measured: {missing.measure}: {missing.reason}")
    written.append(write_evaluation_page(arguments.output))
    if arguments.blind:
        from nogan.report.blind_page import write_blind_page

        written.append(write_blind_page(arguments.output))
    print(f"{arguments.output}: {', '.join(path.name for path in written)}")


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line."""
    parser = parser_of("evaluate", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "colorizers",
        nargs="+",
        metavar="COLORIZER",
        help="run folder, .safetensors or .onnx export, DeOldify .pth, blend A:0.6+B:0.4, or a folder of pictures with "
        "the photographs' names; NAME=… names it in the tables. Or colorized films",
    )
    add("--data", metavar="DIR", help="photographs with their colors, or a prepared copy of them")
    add("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the results; run again, it goes on")
    add("--protocol", default="full", metavar="NAME", help="conditions of measuring (default full)")
    add("--images", type=reading(positive), metavar="N", help="measure the first N photographs only")
    add(
        "--render-factor",
        nargs="+",
        type=reading(render_factor),
        default=[],
        metavar="F",
        help="of models, a number or 'auto' (default: the protocol's); several give a row each",
    )
    add("--keep", type=int, default=500, metavar="N", help="pictures kept of each colorizer (default 500)")
    add("--reference", type=Path, metavar="FILM", help="of films: the same film with its true colors")
    add("--skip", nargs="+", default=[], metavar="MEASURE", help="measures to leave out, such as fid lpips")
    add("--inception-weights", type=Path, metavar="FILE", help="weights for FID; else the library loads them")
    add("--lpips-weights", type=Path, metavar="FILE", help="weights of AlexNet for LPIPS; else torchvision loads them")
    add("--latex", action="store_true", help="write the table as LaTeX, too")
    add("--wandb", metavar="PROJECT", help="log the tables to this project of W&B")
    add("--group-by", metavar="KEY", help="runs with the same value of this config key are averaged, such as model")
    add("--blind", action="store_true", help="also a page in which you choose between the colorizers' pictures")
    run = parser.add_argument_group("running")
    run.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")
    run.add_argument(
        "--batch-size", type=reading(positive), metavar="N", help="images a pass (default: 1 on a CPU, 8 on a GPU)"
    )
    arguments = parser.parse_args(argv)
    if _are_choices(arguments):
        return arguments
    if _are_films(arguments):
        if arguments.blind:
            parser.error("--blind: is for photographs, not for films")
        if arguments.data is not None:
            parser.error(f"--data {arguments.data}: is for photographs; films have --reference FILM")
    elif arguments.data is None:
        parser.error("--data DIR is missing: the photographs to measure on")
    elif arguments.reference is not None:
        parser.error(f"--reference {arguments.reference}: is for films; photographs have --data DIR")
    return arguments


def _are_choices(arguments: argparse.Namespace) -> bool:
    return arguments.blind and all(path.endswith(".json") for path in arguments.colorizers)


def _are_films(arguments: argparse.Namespace) -> bool:
    from nogan.colorize.film.options import FILM_SUFFIXES

    return all(Path(path).suffix.lower() in FILM_SUFFIXES for path in arguments.colorizers)


class Bar:
    """A progress bar for each colorizer, and remarks, on stderr."""

    def remark(self, text: str) -> None:
        """See :class:`nogan.evaluation.evaluate.Reporter`."""
        print(text, file=sys.stderr)

    @contextlib.contextmanager
    def task(self, name: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """See :class:`nogan.evaluation.evaluate.Reporter`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (name_column(), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
            task = progress.add_task(name, total=total, completed=done)
            yield lambda more: progress.update(task, advance=more)


def show(results: "Results") -> None:
    """Print the table: a line for each measure, and as many columns side by side as the terminal is wide."""
    from rich.console import Console
    from rich.table import Table

    from nogan.evaluation.tables import heading, shown

    console = Console()
    columns = [
        [e.name, *(shown(m, e.aggregates.get(m.key), interval=False) for m in results.measures)]
        for e in results.entries
    ]
    first = ["", *map(heading, results.measures)]
    for block in _blocks(columns, console.width - max(map(len, first)) - FRAME):
        table = Table(first[0])
        for column in block:
            table.add_column(plain(column[0]))
        for number, name in enumerate(first[1:], start=1):
            table.add_row(plain(name), *(column[number] for column in block))
        console.print(table)


def _blocks(columns: "list[list[str]]", width: int) -> "Iterator[list[list[str]]]":
    """Consecutive ``columns`` that fit side by side into ``width`` characters; one at least."""
    block: list[list[str]] = []
    left = width
    for column in columns:
        needed = max(map(len, column)) + FRAME
        if block and needed > left:
            yield block
            block, left = [], width
        block.append(column)
        left -= needed
    if block:
        yield block


def rank(paths: Sequence[Path], output: Path) -> None:
    """Rank colorizers by files of choices, write the ranking, and print it."""
    import json

    from rich.console import Console
    from rich.table import Table

    from nogan.common.files import write_atomically
    from nogan.evaluation.blind import bradley_terry, read_choices

    choices = [choice for path in paths for choice in read_choices(path)]
    ranking = bradley_terry(choices)
    text = json.dumps(ranking.to_json(), indent=1, ensure_ascii=False) + "\n"
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / "ranking.json", lambda path: path.write_text(text, encoding="utf-8"))
    table = Table("", "strength", "95 % interval", "chosen", "shown")
    for place in ranking.colorizers:
        interval = f"{place.low:.2f} to {place.high:.2f}"
        table.add_row(plain(place.name), f"{place.strength:.2f}", interval, f"{place.wins:g}", str(place.shown))
    Console().print(table)
    print(f"{output}: ranking.json, from {len(choices)} choices")


def measure_films(films: Sequence[Path], reference: Path | None, output: Path) -> None:
    """Measure films, with a progress bar, write the results and the page, and print a table."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
    from rich.table import Table

    from nogan.evaluation import film
    from nogan.report.film_page import rows, write_film_page

    columns = (name_column(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def show_progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
            progress.update(tasks[name], completed=done, total=total)

        measured = film.measure_films(films, reference, show_progress)
    written = film.write_films(measured, output)
    page = write_film_page(measured, output / "film.html", truth=reference is not None)
    heads, values = rows(measured)
    table = Table("")
    for one in measured:
        table.add_column(plain(one.name), justify="right", overflow="fold")
    for head, *cells in zip(heads, *values, strict=True):
        table.add_row(plain(head.label), *cells)
    Console().print(table)
    for one in measured:
        for remark in one.remarks:
            print(f"{one.name}: {remark}")
    print(f"{output}: {', '.join(path.name for path in (*written, page))}")
