"""What `gpu.py` found, as a page of tables, and how it stands to what was aimed at."""

from collections.abc import Mapping
from typing import Any

from nogan.study.record import markdown

AIMS = {1: 0.25, 8: 0.4}
"""Share of the matrix product's rate that training is to reach, by the factor on the recipe's batch."""
HOURS = 2.5  # for the artistic program on ImageNet
MAKES_NO_WAIT = 0.02  # share of the time below which a wait for data is none
Found = Mapping[str, Any]


def page(results: Found) -> str:
    """The whole page, of what is there."""
    card = results.get("device", {})
    lines = [
        "# On one GPU",
        "",
        f"```\n{results['command']}\n```",
        "",
        f"{card.get('name', 'unknown')}, {results['cores']} cores, torch {card.get('torch')}, "
        f"Python {results['python']}.",
    ]
    if "matmul_tflops" in card:
        lines.append(
            f"A bf16 matrix product of 8192 x 8192 reaches {card['matmul_tflops']:.0f} TFLOP/s here, "
            f"a copy moves {card['copy_tbs']:.2f} TB/s (read and written)."
        )
    for part, write in PARTS.items():
        if part in results:
            found = results[part]
            lines += ["", f"## {TITLES[part]}", ""]
            if found["ended"] != "complete":
                lines += [f"Not complete: {found['ended']}.", ""]
            lines += write(found, results)
            if "output" in found:
                lines += ["", "```", *found["output"], "```"]
    return "\n".join(lines).rstrip() + "\n"


def tests(found: Found, results: Found) -> list[str]:
    """How many passed, and what failed."""
    if "passed" not in found:
        return []
    failures = found["failures"]
    lines = [f"{found['passed']} passed, {len(failures)} failed, {found['skipped']} skipped."]
    for failure in failures:
        lines += ["", f"**{failure['name']}**", "", "```", *failure["what"][-12:], "```"]
    return lines


def rates(found: Found, results: Found) -> list[str]:
    """A row for each setting, and the whole programs on ImageNet at these rates."""
    peak = results.get("device", {}).get("matmul_tflops")
    rows = sorted(found.get("rows", []), key=lambda row: (row["model"], _phase_order(row["phase"]), row["factor"]))
    lines = [_rate_line(row, results, peak) for row in rows]
    head = ["model", "phase", "px", "batch", "compiled", "images/s", "TFLOP/s", "of the peak", "memory, GiB"]
    text = [
        "Training steps as the program takes them: median time from the end of one batch to the end of the next, with "
        "loading, augmentation and optimizer. In GAN phases critic and generator take turns. *Waiting*: for a batch "
        "from the data workers; *preparing*: bringing it to the GPU and starting its augmentation there.",
        "",
        markdown([*head, "waiting", "preparing", "first batch, s"], lines),
    ]
    for loader in found.get("loader", []):
        text += [
            "",
            f"The data workers alone deliver {loader['images_per_second']:,.0f} photographs/s at {loader['size']} px.",
        ]
    if found.get("missing"):
        names = ", ".join(
            f"{s['model']} {s['phase']} x{s['factor']}{' compiled' * s['compiled']}" for s in found["missing"]
        )
        text += ["", f"Not measured, for want of time: {names}."]
    return [*text, *_programs(found, results)]


def _rate_line(row: Found, results: Found, peak: float | None) -> list[str]:
    start = [row["model"], f"{row['phase']} x{row['factor']}"]
    if "error" in row:
        return [*start, "", "", "yes" if row["compiled"] else "", row["error"], *[""] * 6]
    tflops = tflops_of(row, results)
    return [
        *start,
        str(row["size"]),
        str(row["batch"]),
        "yes" if row["compiled"] else "",
        f"{row['images_per_second']:,.0f}",
        f"{tflops:,.1f}" if tflops else "–",
        f"{tflops / peak:.0%}".replace("%", " %") if tflops and peak else "–",
        f"{row['memory_gib']:.1f}" if "memory_gib" in row else "–",
        f"{row['waiting']:.1%}".replace("%", " %"),
        f"{row['preparing']:.1%}".replace("%", " %"),
        f"{row['first_batch_seconds']:.1f}",
    ]


def tflops_of(row: Found, results: Found) -> float | None:
    """TFLOP/s of a row, where the operations were counted."""
    counted = results.get("flops", {}).get(row["model"], {}).get("flops", {}).get(row["phase"])
    return counted and row["images_per_second"] * counted / 1e12


def _phase_order(phase: str) -> int:
    return ("g1", "g2", "g3", "g4", "c1", "c2", "gan").index(phase)


def _programs(found: Found, results: Found) -> list[str]:
    """Hours of each whole program on ImageNet, at the rates that were measured."""
    lines = []
    for model, counted in results.get("flops", {}).items():
        if not isinstance(counted, Mapping) or results["smoke"]:
            continue
        for factor in (1, 4, 8):
            for compiled in (False, True):
                if hours := program_hours(model, factor, compiled, found, results):
                    total, by_phase = hours
                    parts = ", ".join(f"{phase} {value:.2f}" for phase, value in by_phase.items())
                    lines.append([model, f"x{factor}", "yes" if compiled else "", f"{total:.1f}", parts])
    if not lines:
        return []
    return [
        "",
        "The whole program on ImageNet at these rates, its fakes included (at the rate of the same operations in the "
        "GAN phase), measuring and saving left out; where a phase was not measured compiled, at its rate without:",
        "",
        markdown(["model", "batches", "compiled", "hours", "of them"], lines),
    ]


def program_hours(
    model: str, factor: int, compiled: bool, found: Found, results: Found
) -> tuple[float, dict[str, float]] | None:
    """Hours of the whole program on ImageNet and of each of its phases; None where a rate is missing."""
    counted, rates, any_compiled = results["flops"][model], {}, False
    for row in found.get("rows", []):
        # The critic is the same in every model.
        if row["factor"] == factor and "error" not in row and (row["model"] == model or row["phase"] in ("c1", "c2")):
            if row["compiled"] and not compiled:
                continue
            faster = row["images_per_second"] > rates.get(row["phase"], 0)
            rates[row["phase"]] = row["images_per_second"] if faster else rates[row["phase"]]
            any_compiled |= row["compiled"] and row["model"] == model
    if compiled and not any_compiled:
        return None
    if "gan" in rates:
        rates["fakes"] = rates["gan"] * counted["flops"]["gan"] / counted["flops"]["fakes"]
    if set(counted["images"]) - set(rates):
        return None
    hours = {phase: images / rates[phase] / 3600 for phase, images in counted["images"].items()}
    return sum(hours.values()), hours


def program(found: Found, results: Found) -> list[str]:
    """What each phase of the run in small cost and came to."""
    lines = []
    for record in found.get("phases", []):
        metrics = record.get("metrics", {})
        lines.append(
            [
                record["name"],
                str(record["size"]),
                str(record["batch_size"]),
                f"{record['steps']} of {record['planned']}",
                f"{record['seconds']:.1f}",
                f"{record['steps'] * record['batch_size'] / max(record['seconds'], 1e-9):,.0f}",
                record.get("end", "cut"),
                *(f"{metrics[name]:.3g}" if name in metrics else "" for name in ("chroma_fd", "psnr")),
            ]
        )
    head = ["phase", "px", "batch", "batches", "s", "images/s", "end", "chroma FD", "PSNR"]
    text = [markdown(head, lines), ""] if lines else []
    if found.get("code"):
        text += [f"train.py ended with code {found['code']}:", "", "```", *found.get("tail", []), "```", ""]
    given = " ".join(f"'{word}'" if set(word) & set("{}") else word for word in found.get("overrides", []))
    return [*text, f"{found.get('run_seconds', 0):.0f} s in all, of `python train.py {given}`."]


def inflection(found: Found, results: Found) -> list[str]:
    """The same, and what the detector said."""
    text = program(found, results)
    for record in found.get("phases", []):
        if verdict := record.get("verdict"):
            text += [
                "",
                f"Verdict: inflection point at batch {verdict['inflection']} of {record['steps']}, seen at "
                f"{verdict['step']}: {verdict['reason']}.",
            ]
    return text


def color(found: Found, results: Found) -> list[str]:
    """Pictures a second, the network alone and with all around it, and film."""
    lines = [
        [
            row["model"],
            str(row["factor"]),
            "yes" if row["compiled"] else "",
            f"{row['network_per_second']:,.1f}",
            f"{row['photographs_per_second']:,.1f}",
        ]
        for row in found.get("rows", [])
    ]
    head = ["model", "render factor", "compiled", "network alone, pictures/s", "photographs of 1 megapixel/s"]
    text = [
        markdown(head, lines),
        "",
        "In batches of 8; a photograph's own part runs on one core, reading and writing files left out.",
    ]
    film = found.get("film")
    if isinstance(film, Mapping):
        text += [
            "",
            f"Film of 1080p, artistic at factor {film['factor']}, from file to file: "
            f"{film['frames_per_second']:.0f} frames/s.",
        ]
    elif film:
        text += ["", f"Film: {film}."]
    return text


TITLES = {
    "tests": "tests/gpu",
    "rates": "Training, phase by phase",
    "program": "The whole program, in small",
    "inflection": "A long GAN phase at 64 px",
    "color": "Coloring",
}
PARTS = {"tests": tests, "rates": rates, "program": program, "inflection": inflection, "color": color}
