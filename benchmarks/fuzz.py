"""What nonsense and damage lead to: every key of the config, every file of a run, every kind of photograph.

    python benchmarks/fuzz.py                                  # all of it: an hour or two on one core
    python benchmarks/fuzz.py --only folder --sample 200       # some of it, drawn by --seed
    python benchmarks/fuzz.py --state FUZZ.jsonl               # can be interrupted; the same command goes on

Config: each leaf of the smallest complete program in turn is set to each of `NONSENSE`; where the dry run accepts it,
the run is made, too. Folder: each file of a run that has ended, and of one that was killed, is damaged in each of
`DAMAGES`; then each of `COMMANDS` works on the folder. Images: a picture of each kind, damaged alike, is colorized, and
loaded for training. A case is well if it is refused in one line, ends as if nothing had been done to it, or says what
is different. What must not be: a traceback, a hang, a difference that nobody is told of.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_suffix(".md")

SMALLEST = (  # the complete program, with a verdict in each cycle, in two seconds
    *("experiment=quickstart", "trainer=debug", "logger=csv", "data.workers=0", "data.images=200", "seed=0"),
    *("nogan.pretrain.g1.batch_size=4", "nogan.pretrain.g2={size:32,batch_size:4}"),
    *("nogan.critic.fakes={size:32,batch_size:4,share:0.3}", "nogan.critic.phases.c1.batch_size=4"),
    *("nogan.critic.phases.c2={size:32,batch_size:4}", "nogan.gan={size:32,batch_size:4,max_critic_steps:1}"),
    *("nogan.repeats=1", "nogan.snapshot_every=0.05", "nogan.inflection.name=budget"),
    *("nogan.inflection.budget.share=0.075", "model.width=0.5", "model.critic.width=8"),
    *("trainer.limit_batches=6", "trainer.checkpoint_every_n_batches=2"),
    "probe={images:4,size:32,grid:2,batch_size:4}",
)
SHORTER = ("nogan.repeats=1", "trainer.limit_batches=2")  # for the runs of nonsense that the dry run accepts

NONSENSE: dict[str, Any] = {
    **{"-1": -1, "0": 0, "1e30": 1e30, "abc": "abc", "null": None, "[]": [], "{}": {}},
    "5,000 letters": "x" * 5000,
}
DAMAGES = ("deleted", "cut", "bit flipped", "bit flipped at the start", "zeroed", "replaced")
STATES = ("ended", "killed")
COMMANDS = ("resume", "report", "compare", "snapshots", "pick", "colorize", "blend", "export")
PAGES = ("report", "compare", "snapshots")  # what they do not show because a file is gone, everybody sees
KINDS = {
    **{"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF", "avif": "AVIF"},
    **{"jp2": "JPEG2000", "ppm": "PPM", "tga": "TGA"},
}
LIMIT = 180.0  # seconds a case may take: longer is a hang
MEMORY = 10 << 30  # bytes of address space a case may take

SAME, ACCEPTED, REFUSED, SAID = "as without it", "accepted", "refused in one line", "differs, and says so"
LESS, PIXELS = "shows less", "decoded: other pixels"
TRACEBACK, HANG, SILENT = "TRACEBACK", "HANG", "SILENT DIFFERENCE"
FAULTS = (TRACEBACK, HANG, SILENT)
ABOUT_DAMAGE = re.compile(
    r"damage|left out|not whole|falling back|made again|cannot be read|changed|not those|gone", re.I
)


class Case(NamedTuple):
    """One nonsense or damage, and what is then done."""

    part: str  # "config", "folder" or "images"
    subject: str  # a key, "STATE/FILE", or a kind of image
    damage: str
    command: str

    def __str__(self) -> str:
        return " | ".join(self)


class Outcome(NamedTuple):
    """What a case came to, and the last words of the program."""

    kind: str
    words: str = ""


class Ran(NamedTuple):
    """What a command did."""

    code: int | None  # None: an exception came through
    text: str
    result: Any = None  # what it computed, for comparing


# --- the cases --------------------------------------------------------------------------------------------------------


def config_cases(command: str = "train") -> list[Case]:
    """Each leaf of the config with each piece of nonsense; ``command`` is "train", or "dry run" for that alone."""
    return [Case("config", key, name, command) for key in config_leaves() for name in NONSENSE]


def config_leaves() -> dict[str, Any]:
    """The leaves of the smallest program's config, by key."""
    return {
        key: value for key, value in leaves(smallest()) if key not in ("resume", "dry_run", "trust", "data.changed")
    }


def smallest(*overrides: str) -> dict[str, Any]:
    """The config of the smallest program, as plain values."""
    from nogan.training.compose import read_config

    return read_config(*SMALLEST, *overrides).model_dump(mode="json")


def leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested mappings that is none itself, by its key."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def with_leaf(config: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``config`` with another value at ``key``."""
    first, dot, rest = key.partition(".")
    return {**config, first: with_leaf(config[first], rest, value) if dot else value}


def folder_cases(scratch: Path) -> list[Case]:
    """Each file of both runs, with each damage and command."""
    return [
        Case("folder", f"{state}/{path.relative_to(scratch / state)}", damage, command)
        for state in STATES
        for path in sorted((scratch / state).rglob("*"))
        if path.is_file() and path.name != ".lock"
        for damage in DAMAGES
        for command in COMMANDS
    ]


def image_cases() -> list[Case]:
    """Each kind of image with each damage, colored and loaded."""
    return [Case("images", kind, damage, c) for kind in KINDS for damage in DAMAGES for c in ("colorize", "load")]


def damaged(path: Path, damage: str, rng: random.Random) -> None:
    """Damage the file ``path``, which may be a second name of another: that one stays."""
    content = bytearray(path.read_bytes())
    path.unlink()
    match damage:
        case "deleted":
            return
        case "cut":
            del content[len(content) // 2 :]
        case "bit flipped" | "bit flipped at the start" if content:
            end = min(len(content), 200) if damage.endswith("start") else len(content)
            content[rng.randrange(end)] ^= 1 << rng.randrange(8)
        case "zeroed":
            content = bytearray(len(content))
        case "replaced":
            content = bytearray(b"This was something else.\n")
    path.write_bytes(content)


# --- what is needed for them ------------------------------------------------------------------------------------------


def make_runs(scratch: Path) -> None:
    """A run that has ended, and one that was killed in its last phase."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    for state in STATES:
        arguments = [*SMALLEST, f"hydra.run.dir={scratch / state}"]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments], env=environment, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and state == "killed":
            if list((scratch / state / "checkpoints").glob("006-*.ckpt")):
                process.send_signal(signal.SIGKILL)
            time.sleep(0.01)
        assert process.wait() == (0 if state == "ended" else -signal.SIGKILL)


def make_images(scratch: Path) -> None:
    """A picture of every kind, without symmetry."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:48, :64]
    scene = np.dstack([4 * x, 5 * y, 255 - 2 * x - 2 * y]).clip(0, 255).astype(np.uint8)
    (scratch / "images").mkdir(parents=True)
    for suffix, kind in KINDS.items():
        Image.fromarray(scene).save(scratch / "images" / f"photo.{suffix}", kind)


# --- one case ---------------------------------------------------------------------------------------------------------


NOTHING = Ran(0, "")


class Bench:
    """Does cases in this process, below the folder ``scratch``, with damage drawn by ``seed``."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        self.work = scratch / "work" / "run"
        self.undamaged: dict[tuple[str, str], Ran] = {}
        self._smallest, self._shorter = smallest(), smallest(*SHORTER)

    def do(self, case: Case) -> Outcome:
        """What ``case`` comes to."""
        return {"config": self._config, "folder": self._folder, "images": self._image}[case.part](case)

    def _config(self, case: Case) -> Outcome:
        from rich.console import Console

        from nogan.plan.config import parse_config
        from nogan.training.preview import show_plan
        from nogan.training.run import train

        quiet = Console(file=io.StringIO())
        nonsense = NONSENSE[case.damage]
        dry = heard(lambda: show_plan(parse_config(with_leaf(self._smallest, case.subject, nonsense)), quiet))
        if dry.code != 0:
            return judged(dry, NOTHING)
        short = parse_config(with_leaf(self._shorter, case.subject, nonsense))
        became = dict(leaves(short.model_dump(mode="json"))).get(case.subject)
        if not same_value(nonsense, became):
            return Outcome(SILENT, f"{case.subject} became {became!r}")
        if case.command == "dry run":
            return Outcome(ACCEPTED)
        shutil.rmtree(self.work, ignore_errors=True)
        outcome = judged(heard(lambda: train(short, self.work, console=quiet) and None), NOTHING)
        return Outcome(ACCEPTED) if outcome.kind == SAME else outcome

    def _folder(self, case: Case) -> Outcome:
        state, _, file = case.subject.partition("/")

        def run() -> Ran:
            shutil.rmtree(self.work.parent, ignore_errors=True)
            copy_run(self.scratch / state, self.work)
            return self._command(case.command, state)

        plain = self._undamaged((state, case.command), run)
        shutil.rmtree(self.work.parent, ignore_errors=True)
        copy_run(self.scratch / state, self.work)
        damaged(self.work / file, case.damage, random.Random(f"{self.seed} {case}"))
        outcome = judged(self._command(case.command, state), plain)
        if outcome.kind == SILENT and case.damage == "deleted" and case.command in PAGES:
            return Outcome(LESS)
        return outcome

    def _command(self, command: str, state: str) -> Ran:
        out = self.scratch / "work" / f"{command}.out"
        photo = self.scratch / "images" / "photo.png"
        match command:
            case "resume":
                more = ("nogan.repeats=2",) if state == "ended" else ()
                return said("train", f"resume={self.work}", *more, result=lambda: computed(self.work))
            case "report":
                return said("report", str(self.work), result=lambda: page(self.work / "report.html"))
            case "compare":
                arguments = (str(self.work), str(self.scratch / "ended"), "-o", f"{out}.html")
                return said("compare", *arguments, result=lambda: page(Path(f"{out}.html")))
            case "snapshots":
                ran = said("snapshots", str(self.work))
                return ran._replace(result=ran.text if ran.code == 0 else None)
            case "pick":
                arguments = (str(self.work), "--pick", "2", "--cycle", "1", "-o", f"{out}.safetensors")
                return said("snapshots", *arguments, result=lambda: digest(Path(f"{out}.safetensors")))
            case "colorize":
                arguments = (str(photo), "-o", f"{out}.png", "--checkpoint", str(self.work), "--render-factor", "4")
                return said("colorize", *arguments, result=lambda: digest(Path(f"{out}.png")))
            case "blend":
                other = str(self.work / "generator@pretrained.safetensors")
                arguments = (str(self.work), other, "--alpha", "0.5", "-o", f"{out}.safetensors")
                return said("blend", *arguments, result=lambda: digest(Path(f"{out}.safetensors")))
        arguments = (str(self.work), "-o", f"{out}.safetensors")  # "export": at half the size
        return said("export", *arguments, result=lambda: digest(Path(f"{out}.safetensors")))

    def _image(self, case: Case) -> Outcome:
        whole = self.scratch / "images" / f"photo.{case.subject}"
        folder = self.scratch / "work" / "photos"

        def run(damage: str | None) -> Ran:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            file = Path(shutil.copy(whole, folder / whole.name))
            if damage:
                damaged(file, damage, random.Random(f"{self.seed} {case}"))
            if case.command == "load":
                return loaded(file)
            out, checkpoint = folder / "out.png", str(self.scratch / "ended")
            arguments = (str(file), "-o", str(out), "--checkpoint", checkpoint, "--render-factor", "4")
            return said("colorize", *arguments, result=lambda: digest(out))

        plain = self._undamaged((case.subject, case.command), lambda: run(None))
        outcome = judged(run(case.damage), plain)
        flipped = case.damage.startswith("bit flipped")
        return Outcome(PIXELS) if outcome.kind == SILENT and flipped else outcome

    def _undamaged(self, key: Any, run: Callable[[], Ran]) -> Ran:
        if key not in self.undamaged:
            self.undamaged[key] = run()
            assert self.undamaged[key].code == 0, self.undamaged[key].text
        return self.undamaged[key]


def judged(ran: Ran, plain: Ran) -> Outcome:
    """What ``ran`` came to, compared with what the same command does where nothing is wrong."""
    news = [line for line in ran.text.splitlines() if line.strip() and line not in plain.text.splitlines()]
    last = " / ".join(news)[-300:]
    if ran.code is None or "Traceback (most recent call last)" in ran.text:
        return Outcome(TRACEBACK, last)
    if ran.code != 0:
        return Outcome(REFUSED, last)
    if ran.result == plain.result:
        return Outcome(SAME)
    return Outcome(SAID if any(ABOUT_DAMAGE.search(line) for line in news) else SILENT, last)


def said(command: str, *arguments: str, result: Callable[[], Any] = lambda: None) -> Ran:
    """Run `nogan COMMAND ARGUMENTS` in this process."""
    from nogan.commands import run

    ran = heard(lambda: run(command, list(arguments)))
    return ran._replace(result=result()) if ran.code == 0 else ran


def heard(act: Callable[[], int | None]) -> Ran:
    """Call ``act``, which returns an exit code, with all that it says kept."""
    from nogan.common.failures import explained

    text = io.StringIO()
    root = logging.getLogger()
    handlers, root.handlers[:] = root.handlers[:], [logging.StreamHandler(text)]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            return Ran(act() or 0, text.getvalue())
    except SystemExit as stopped:
        return Ran(stopped.code if isinstance(stopped.code, int) else 1, text.getvalue())
    except Exception as error:
        if known := explained(error):
            return Ran(1, f"{text.getvalue()}{known}")
        return Ran(None, text.getvalue() + traceback.format_exc())
    finally:
        root.handlers[:] = handlers


def loaded(file: Path) -> Ran:
    """Decode ``file`` as the loaders of a training run do."""
    from nogan.data.images import BadImage, decode

    try:
        pixels = decode(file.read_bytes(), 32)
    except (BadImage, OSError) as error:
        return Ran(1, f"{error}")
    except Exception:
        return Ran(None, traceback.format_exc())
    return Ran(0, "", (pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()))


def copy_run(source: Path, target: Path) -> None:
    """Copy a run; large files, which are only ever replaced as a whole, get a second name."""

    def copy(one: str, other: str) -> None:
        if one.endswith((".ckpt", ".safetensors")):
            os.link(one, other)
        else:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=copy)


def computed(run: Path) -> Any:
    """What a run computed: weights, metrics and records, without times."""
    weights = [digest(run / f"{name}.safetensors") for name in ("generator", "critic")]
    with (run / "metrics.csv").open(newline="") as file:
        rows = [[v for k, v in row.items() if not str(k).startswith("system/")] for row in csv.DictReader(file)]
    records = json.loads((run / "records.json").read_text())
    return weights, rows, [{k: v for k, v in record.items() if "seconds" not in k} for record in records]


def page(path: Path) -> str:
    """A page, without when it was written."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", path.read_text())


def digest(path: Path) -> str:
    """A hash of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_value(given: Any, became: Any) -> bool:
    """Whether the config has taken a value for what it is: 0 as false is well, -1 as true is not."""
    if isinstance(became, bool):
        return given == 0
    return given == became or (given == {} and isinstance(became, dict))


# --- all of them ------------------------------------------------------------------------------------------------------


class Worker:
    """A process that does cases; killed and started again where one hangs."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.arguments = (scratch, seed)
        self.process: Any = None
        self.connection: Any = None

    def do(self, case: Case) -> Outcome:
        """What ``case`` comes to."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, *self.arguments), daemon=False)
            self.process.start()
        self.connection.send(case)
        try:
            if self.connection.poll(LIMIT):
                return self.connection.recv()
            outcome = Outcome(HANG, f"more than {LIMIT:.0f} s")
        except EOFError:
            self.process.join()
            outcome = Outcome(TRACEBACK, f"the process died, exit code {self.process.exitcode}")
        self.stop()
        return outcome

    def stop(self) -> None:
        """End the process, with those that it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()
            self.process = None


def serve(connection: Connection, scratch: Path, seed: int) -> None:
    """Do the cases that come through ``connection``."""
    import resource

    os.setsid()
    os.chdir(scratch)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.path.insert(0, str(ROOT / "src"))
    import torch

    torch.set_num_threads(1)
    bench = Bench(scratch, seed)
    while True:
        connection.send(bench.do(connection.recv()))


def drawn(cases: list[Case], sample: int | None, seed: int) -> list[Case]:
    """``sample`` of the cases, or all, in random order, so that one that was interrupted is a sample, too."""
    mixed = random.Random(seed).sample(cases, len(cases))
    return mixed[:sample] if sample else mixed


def table(outcomes: Mapping[Case, Outcome]) -> str:
    """The counts per part and outcome, and every fault."""
    kinds = [SAME, ACCEPTED, REFUSED, SAID, LESS, PIXELS, *FAULTS]
    lines = [f"| | cases | {' | '.join(kind.lower() for kind in kinds)} |", "|---|" + "---|" * (len(kinds) + 1)]
    for part in dict.fromkeys(case.part for case in outcomes):
        count = Counter(outcome.kind for case, outcome in outcomes.items() if case.part == part)
        lines.append(f"| {part} | {count.total():,} | {' | '.join(f'{count[kind]:,}' for kind in kinds)} |")
    return "\n".join(lines)


def main() -> int:
    """Run the cases; the exit code is 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("config", "folder", "images"), help="one part")
    parser.add_argument("--dry", action="store_true", help="of configs, make the dry runs alone")
    parser.add_argument("--sample", type=int, metavar="N", help="of each part, that many cases")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of the damage")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep outcomes here, and skip those that are there")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="keep the runs to be damaged here, for the next time"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the document (default: benchmarks/fuzz.md)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    outcomes: dict[Case, Outcome] = {}
    if arguments.state and arguments.state.exists():
        for line in arguments.state.read_text().splitlines():
            case, outcome = json.loads(line)
            outcomes[Case(*case)] = Outcome(*outcome)
    with contextlib.ExitStack() as stack:
        scratch = arguments.scratch
        if scratch is None:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nogan-fuzz-")))
        if not (scratch / "images").exists():
            make_images(scratch)
        if arguments.only != "config" and not (scratch / "killed").exists():
            make_runs(scratch)
        command = "dry run" if arguments.dry else "train"
        parts = {
            "config": lambda: config_cases(command),
            "folder": lambda: folder_cases(scratch),
            "images": image_cases,
        }
        chosen = [
            case
            for part, cases in parts.items()
            if arguments.only in (None, part)
            for case in drawn(cases(), arguments.sample, arguments.seed)
        ]
        worker = Worker(scratch, arguments.seed)
        try:
            for number, case in enumerate(chosen, 1):
                if case in outcomes:
                    continue
                outcomes[case] = outcome = worker.do(case)
                if arguments.state:
                    with arguments.state.open("a") as file:
                        file.write(json.dumps([case, outcome]) + "\n")
                if outcome.kind in FAULTS:
                    print(f"{number}/{len(chosen)} {outcome.kind}: {case}: {outcome.words}", flush=True)
        finally:
            worker.stop()
    print(table(outcomes))
    faults = [f"{outcome.kind}: {case}" for case, outcome in outcomes.items() if outcome.kind in FAULTS]
    write_page(arguments, outcomes, faults)
    return 1 if faults else 0


def write_page(arguments: argparse.Namespace, outcomes: Mapping[Case, Outcome], faults: list[str]) -> None:
    """Write the document."""
    flags = [f"--{name} {value}" for name in ("only", "sample", "seed") if (value := getattr(arguments, name))]
    command = " ".join(["python benchmarks/fuzz.py", *flags, *(["--dry"] if arguments.dry else [])])
    end = "\n".join(f"- {fault}" for fault in faults) or "No traceback, no hang, no silent difference."
    arguments.page.write_text(f"{INTRODUCTION.format(command=command)}\n{table(outcomes)}\n\n{end}\n")


INTRODUCTION = """# Nonsense and damage

`{command}`

Each leaf of the config set to -1, 0, 1e30, a word, 5,000 letters, null, an empty list and an empty mapping; each file
of a run that has ended, and of one that was killed in its last phase, deleted, cut in the middle, with a bit flipped
anywhere or among its first 200 bytes, zeroed, or replaced by a sentence, and then resumed, reported, compared,
listed, picked from, colorized with, blended and exported; a picture of each kind damaged alike, colorized, and loaded
for training. Every outcome is compared with that of the same command where nothing is wrong. *Shows less*: a page or
table of a folder in which a file is gone. *Other pixels*: a flipped bit in a picture whose format keeps no checksum,
which nobody can notice.
"""

if __name__ == "__main__":
    sys.exit(main())
