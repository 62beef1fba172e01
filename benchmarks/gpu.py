"""What one GPU makes of this program: its tests, its speed in every phase, a whole run in small, and a long GAN phase.

    python benchmarks/gpu.py --photos PHOTOS -o benchmarks       # at most 8 minutes on one H100 or H200, no network
    python benchmarks/gpu.py --parts rates color --minutes 4     # some of it
    python benchmarks/gpu.py --smoke -o OUT                      # all of it in small, on a CPU, to test this command

The parts, each with its share of the time; what one leaves over goes to those behind it:

    tests       tests/gpu, and which of them fail
    rates       images/s, TFLOP/s, memory and waiting of every training phase, with and without compilation
    program     the whole NoGAN program with the artistic networks at full size, some 160 batches a phase
    inflection  one long GAN phase at 64 px with many snapshots, for the study of the inflection point
    color       photographs and film frames a second

Every part runs in a process of its own and writes what it has as it goes: a part that is cut, fails or takes too long
leaves what it finished, and the others theirs. In OUT are then gpu.md, gpu.json, and what the two runs left.
No weights are downloaded: encoder and feature network are random, which changes no speed. Without --photos, the
built-in scenes stand in for photographs.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_page import page

HERE = Path(__file__).parent
SHARES = {"tests": 0.12, "rates": 0.4, "program": 0.2, "inflection": 0.16, "color": 0.12}
GRACE = 15  # seconds between the request to end a part and its end by force


def main() -> None:
    given = arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/gpu.py", *sys.argv[1:]]),
        "smoke": given.smoke,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
    }
    ends = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        counting = start("flops", given, work, 600)  # takes no GPU: beside the others
        try:
            run("device", given, work, 60, results)
            for number, part in enumerate(given.parts):
                open_shares = sum(SHARES[later] for later in given.parts[number:])
                run(part, given, work, (ends - time.monotonic()) * SHARES[part] / open_shares, results)
            counting.wait(60)
        except subprocess.TimeoutExpired:
            print("the floating-point operations could not be counted in time")
        finally:
            stop(counting)
            read("flops", work, results)
            write(given.output, results)
    print((given.output / "gpu.md").read_text())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu"), help="folder for the results (default: gpu)")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES), help="which ones, and their order")
    parser.add_argument("--minutes", type=float, default=7.5, help="for all parts together (default 7.5)")
    parser.add_argument("--photos", type=Path, help="folder of photographs; the best have 256 px and more")
    parser.add_argument("--encoder-weights", type=Path, help="torchvision's mobilenet_v2 weights, for `inflection`")
    parser.add_argument(
        "--settings", nargs="+", metavar="MODEL:PHASE:FACTOR[:compiled]", help="for `rates`: these alone, in this order"
    )
    parser.add_argument("--smoke", action="store_true", help="tiny networks and a few batches, on the CPU")
    return parser.parse_args()


def run(part: str, given: argparse.Namespace, work: Path, seconds: float, results: dict[str, Any]) -> None:
    """Run one part for no longer than ``seconds``, and keep what it found."""
    began = time.monotonic()
    print(f"{part}: at most {seconds:.0f} s", flush=True)
    if seconds > 5:
        process = start(part, given, work, seconds)
        try:
            process.wait(seconds + GRACE)
            ended = "complete" if process.returncode == 0 else f"failed with code {process.returncode}"
        except subprocess.TimeoutExpired:
            ended = "cut: its time was over"
        stop(process)
    else:
        ended = "left out: no time"
    read(part, work, results)
    found = results.setdefault(part, {})
    found["seconds"] = round(time.monotonic() - began, 1)
    found.setdefault("ended", ended)
    if ended.startswith("failed"):
        found["ended"] = ended
        found["output"] = (work / f"{part}.log").read_text(errors="replace").splitlines()[-25:]
        print("\n".join(found["output"]), flush=True)
    print(f"{part}: {found['ended']}, {found['seconds']} s", flush=True)
    write(given.output, results)


def start(part: str, given: argparse.Namespace, work: Path, seconds: float) -> subprocess.Popen:
    command = [sys.executable, str(HERE / "gpu_parts.py"), part, str(work), str(given.output.resolve()), str(seconds)]
    for flag, value in (("--photos", given.photos), ("--encoder-weights", given.encoder_weights)):
        command += [flag, str(value.resolve())] if value else []
    command += ["--settings", *given.settings] if given.settings else []
    command += ["--smoke"] if given.smoke else []
    path = os.pathsep.join(filter(None, [str(HERE.parent / "src"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, **({"CUDA_VISIBLE_DEVICES": ""} if given.smoke else {})}
    with (work / f"{part}.log").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def stop(process: subprocess.Popen) -> None:
    """End ``process`` and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    process.wait()


def read(part: str, work: Path, results: dict[str, Any]) -> None:
    if (work / f"{part}.json").is_file():
        results[part] = json.loads((work / f"{part}.json").read_text())


def write(folder: Path, results: dict[str, Any]) -> None:
    (folder / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "gpu.md").write_text(page(results))


if __name__ == "__main__":
    main()
