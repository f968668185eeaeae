"""The F-scores of audio-visual video parsing, exactly, over all videos at once; pure numpy.

Definitions (Tian et al., ECCV 2020, and its evaluation):

- *segment*: a true positive is a second in which a category is both predicted and true.
- *event*: an event is a maximal run of positive seconds of one category; a predicted and a true event match when the
  intersection over union of their seconds is at least 0.5. Two events of one category are never adjacent, so an event
  matches at most one other: the counts need no assignment.
- F of a video: the mean, over the categories that are predicted or true in it, of 2·TP / (2·TP + FP + FN); 1.0 where
  there is no such category. A score is the mean over videos.
- audio-visual truth and predictions are the seconds that are positive in both modalities.
- *type_at_av*: the mean of the audio, the visual and the audio-visual score.
- *event_at_av*: the audio and the visual counts of a category are added before F is taken.

Beside the ten (Sardari et al., CoLeaF, ECCV 2024, A_o and V_o): *audible_only* and *visible_only* take the seconds that
are positive in one modality and not in the other, in truth and prediction alike, and score them by the same F.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from launch.refusal import Refusal

Parse = Bool[np.ndarray, "video category second"]
Scores = dict[str, dict[str, float]]
LEVELS = ("segment", "event")
KINDS = ("audio", "visual", "audio_visual", "type_at_av", "event_at_av")
EXCLUSIVE = ("audible_only", "visible_only")


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of each video and category."""

    hits: Int[np.ndarray, "video category"]
    false: Int[np.ndarray, "video category"]
    missed: Int[np.ndarray, "video category"]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.hits + other.hits, self.false + other.false, self.missed + other.missed)


def scores(predicted_audio: Parse, predicted_visual: Parse, true_audio: Parse, true_visual: Parse) -> Scores:
    """The ten scores in percent: level ("segment", "event") → kind (`KINDS`) → score.

    Raises Refusal when the four parses differ in shape, are not boolean, or hold no video.
    """
    _check((predicted_audio, predicted_visual, true_audio, true_visual))
    pairs = {
        "audio": (predicted_audio, true_audio),
        "visual": (predicted_visual, true_visual),
        "audio_visual": (predicted_audio & predicted_visual, true_audio & true_visual),
    }
    found: Scores = {}
    for level, count in COUNTS.items():
        counts = {kind: count(predicted, true) for kind, (predicted, true) in pairs.items()}
        kinds = {kind: f_score(each) for kind, each in counts.items()}
        kinds["type_at_av"] = sum(kinds.values()) / 3
        kinds["event_at_av"] = f_score(counts["audio"] + counts["visual"])
        found[level] = {kind: 100 * value for kind, value in kinds.items()}
    return found


def exclusive_scores(predicted_audio: Parse, predicted_visual: Parse, true_audio: Parse, true_visual: Parse) -> Scores:
    """What is only heard and what is only seen, in percent: level → kind (`EXCLUSIVE`) → score; refuses as `scores`."""
    _check((predicted_audio, predicted_visual, true_audio, true_visual))
    pairs = {
        "audible_only": (predicted_audio & ~predicted_visual, true_audio & ~true_visual),
        "visible_only": (predicted_visual & ~predicted_audio, true_visual & ~true_audio),
    }
    return {
        level: {kind: 100 * f_score(count(*pair)) for kind, pair in pairs.items()} for level, count in COUNTS.items()
    }


def segment_counts(predicted: Parse, true: Parse) -> Counts:
    """Counts over seconds."""
    return Counts(
        (predicted & true).sum(axis=2),
        (predicted & ~true).sum(axis=2),
        (~predicted & true).sum(axis=2),
    )


def event_counts(predicted: Parse, true: Parse) -> Counts:
    """Counts over events: those predicted and true that match at IoU ≥ 0.5, those predicted only, those true only."""
    (first, last), (true_first, true_last) = runs(predicted), runs(true)
    shared = np.minimum(last, true_last) - np.maximum(first, true_first) + 1
    joined = np.maximum(last, true_last) - np.minimum(first, true_first) + 1
    second = np.arange(predicted.shape[2])
    # Each overlapping couple of events is looked at once, in the first second that both hold.
    meets = predicted & true & (second == np.maximum(first, true_first))
    hits = (meets & (2 * shared >= joined)).sum(axis=2)
    return Counts(hits, events(predicted) - hits, events(true) - hits)


COUNTS = dict(zip(LEVELS, (segment_counts, event_counts), strict=True))


def runs(
    parse: Parse,
) -> tuple[Int[np.ndarray, "video category second"], Int[np.ndarray, "video category second"]]:
    """For every positive second, the first and the last second of its event; negative seconds hold no meaning."""
    second = np.arange(parse.shape[2])
    before = np.maximum.accumulate(np.where(parse, -1, second), axis=2)
    after = np.minimum.accumulate(np.where(parse, parse.shape[2], second)[..., ::-1], axis=2)[..., ::-1]
    return before + 1, after - 1


def events(parse: Parse) -> Int[np.ndarray, "video category"]:
    """How many events, maximal runs of positive seconds, each video holds of each category."""
    begins = parse.copy()
    begins[..., 1:] &= ~parse[..., :-1]
    return begins.sum(axis=2)


def f_score(counts: Counts) -> float:
    """The mean over videos, in 0..1, of the mean F over the categories that are predicted or true; 1.0 if none is."""
    total = 2 * counts.hits + counts.false + counts.missed
    present = total > 0
    each = 2 * counts.hits / np.maximum(total, 1)
    categories = present.sum(axis=1)
    videos = np.where(categories > 0, each.sum(axis=1) / np.maximum(categories, 1), 1.0)
    return float(videos.mean())


def category_scores(predicted: Parse, true: Parse) -> list[float | None]:
    """Segment F of each category in percent, its counts added over all videos; None where it is never seen at all.

    The paper draws category-wise scores without defining them: adding the counts first keeps rare categories from
    being 1.0 or 0.0 by the accident of one video. Refuses as `scores`.
    """
    _check((predicted, true))
    counts = segment_counts(predicted, true)
    hits, false, missed = counts.hits.sum(axis=0), counts.false.sum(axis=0), counts.missed.sum(axis=0)
    total = 2 * hits + false + missed
    return [float(200 * hit / of) if of else None for hit, of in zip(hits, total, strict=True)]


def _check(parses: tuple[Parse, ...]) -> None:
    shapes = [parse.shape for parse in parses]
    if len(set(shapes)) > 1 or len(shapes[0]) != 3 or any(parse.dtype != np.bool_ for parse in parses):
        types = [str(parse.dtype) for parse in parses]
        raise Refusal(
            "Predicted and true parses must be boolean and of one shape (video, category, second), "
            f"but the shapes are {shapes} of {types}: build all from the same list of videos."
        )
    if not shapes[0][0]:
        raise Refusal("Scores need at least one video, but the parses hold none: check the split and its tables.")
