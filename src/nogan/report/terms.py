"""Explains the terms on the pages, for readers who meet them for the first time."""

from collections.abc import Mapping

from nogan.evaluation.measures import Measure
from nogan.inflection import DETECTORS

TERMS = {
    "inflection": "The batch of a GAN phase after which held-out merit no longer rises. The run goes back to the "
    "generator of the snapshot nearest to it.",
    "inflections": "For each cycle: the inflection point → the snapshot that the run went back to, in batches of the "
    "GAN phase. None: the phase ran to its end. No gain: no snapshot was better than the generator before the phase. "
    "Marked: the point was noted and the phase went on.",
    "phase": "One stretch of training with fixed settings: the generator alone, the critic alone, or both in turn "
    "(GAN). The number after @ is the cycle.",
    "batch": "Images in one batch, over all devices.",
    "lr": "Learning rate at its highest: of the encoder … of the decoder; in a GAN phase, of the generator ⇄ of the "
    "critic.",
    "trains": "What is trained. Decoder: the decoder, and the encoder's normalization layers. By turns: decoder and "
    "critic, whichever the critic's loss calls for.",
    "share": "Share of the run's time, measuring included.",
    "ended": "All batches: the phase ran to its planned end. Inflection: the detector ended it, and the generator went "
    "back to a snapshot. No gain: no snapshot was better than the generator before the phase. Not run: the last cycle "
    "gained nothing, or too little for another one (nogan.inflection.cycle_worth).",
    "accuracy": "Share of held-out pictures that the critic gets right, as real or as colorized. 50 % is guessing.",
    "chroma": "A picture's colors without its brightness (luma). The network gives the chroma; the luma stays that of "
    "the original.",
    "critic": "The network that learns to tell real pictures from colorized ones. Its loss rises as that becomes "
    "harder. In a GAN phase the generator has the next batch when the loss is below the dashed level "
    "(nogan.gan.critic_threshold).",
    "generator": "The network that colorizes. Feature loss: the distance between output and truth in the features of a "
    "pretrained network. Adversarial loss: how far the critic is from taking the output for real.",
    "held-out": "Pictures that no phase trains on; the same ones are measured throughout the run.",
    "turns": "Critic batches for each generator batch. It rises as the critic finds it harder to tell the generator's "
    "pictures from real ones.",
    "merit": "Blotches, wrong strong color and dullness in one figure, as somebody sees them (0 is the truth, below it "
    "is worse, 1 is about as much as blotches of one Lab unit), and the color gained in GAN phases, up to a limit.",
}

MEASURED = {
    "colorfulness_ratio": "How colorful the output is (Hasler and Süsstrunk's measure) in relation to the truth. Below "
    "100 % it is duller, above it more vivid.",
    "psnr": "Peak signal-to-noise ratio: how near the output is to the truth, pixel by pixel. Plausible but different "
    "colors lower it, too.",
    "chroma_fd": "Fréchet distance between the colors (chroma) of all outputs and those of the truth, as "
    "distributions. 0 would mean that they are distributed alike.",
    "orange_red": "Share of orange-red pixels. Skin turns orange first when colors go wrong, so compare it with the "
    "truth's share.",
    "a_shift": "Mean difference to the truth on the a* axis of Lab color: a cast toward red (+) or green (−).",
    "b_shift": "Mean difference to the truth on the b* axis of Lab color: a cast toward yellow (+) or blue (−).",
    "change": "How far the colors moved since the snapshot before, as a mean distance in Lab (ΔE).",
    "shift_variation": "How much the colors change when the input moves by 3 px, as a mean distance in Lab (ΔE): "
    "flicker in film.",
    "scale_variation": "How much the colors change when the picture is colorized at another size, as a mean distance "
    "in Lab (ΔE).",
}


def about(measure: Measure) -> str:
    """What ``measure`` means and which way is better."""
    goal = f"{measure.goal[:1].upper()}{measure.goal[1:]}." if measure.goal else ""
    meaning = MEASURED.get(measure.key) or measure.definition or measure.meaning
    return " ".join(filter(None, (meaning, goal)))


def about_detector(name: str) -> str:
    """How the detector ``name`` judges, as the first line of its documentation says."""
    kind = DETECTORS.get(name)
    first = (kind.__doc__ or "").strip().splitlines()[0] if kind else ""
    return f"{name} is a detector of inflection points. {first}".strip()


def subject(data: Mapping[str, object], count: int = 2) -> str:
    """What the pictures of a run with the config section ``data`` are called: scenes, photographs, or pictures."""
    word = "picture" if data.get("source") else "scene" if data["kind"] == "scenes" else "photograph"
    return word if count == 1 else f"{word}s"
