"""What a client sends and gets back: features by name, nested lists [video][second][width], and a parse a video.

    {"inputs": {"vggish": [[[…128 numbers], …10 seconds], …any number of videos], …}, "params": {"keys": ["…"]}}
    {"predictions": [{"key": "…", "seconds": 10, "events": […], "probabilities": {…}}, …]}

Keys are optional; one that ends in `_<start>_<end>` says how long its video is, and a video without one is called by
its place: "0", "1", …
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from finetune.parser import Parser
from finetune.parses.events import VideoParse, parse_videos
from finetune.scoring.decision import Protocol
from launch.refusal import Refusal
from shards.schema import SECONDS, check_key

BATCH = 128
"""Videos of a request that are parsed at a time."""
Features = Mapping[str, Float[np.ndarray, "video second _"]]


def answer(parser: Parser, protocol: Protocol, features: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The parse of each video of a request, as JSON holds it; none for a request without videos.

    Raises Refusal for features the parser does not read, of other shapes, or that are not finite, and for keys that
    are not one a video.
    """
    found = check_request(parser.widths, features)
    count = len(next(iter(found.values())))
    names = check_keys(list(keys), count) if len(keys) else [str(place) for place in range(count)]
    device = next(parser.parameters()).device
    parses = list[VideoParse]()
    for first in range(0, count, BATCH):
        few = {name: torch.from_numpy(array[first : first + BATCH]).to(device) for name, array in found.items()}
        parses += parse_videos(parser, names[first : first + BATCH], few, protocol)
    return [parse.content() for parse in parses]


def check_request(widths: Mapping[str, int], features: Any) -> Features:
    """The features of a request as float32; raises Refusal unless they are those of the parser, for the same videos."""
    if not isinstance(features, Mapping) or set(features) != set(widths):
        found = ", ".join(map(repr, features)) if isinstance(features, Mapping) else f"a {type(features).__name__}"
        raise Refusal(
            f"A request must hold the features {', '.join(map(repr, widths))} under 'inputs', but holds "
            f"{found or 'none'}: send each as nested lists [video][second][width]."
        )
    arrays = {name: _check_array(name, features[name], width) for name, width in widths.items()}
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise Refusal(
            f"A request must hold every feature of every video, but holds {counts} videos: send as many of each."
        )
    return arrays


def check_keys(keys: list[str], count: int) -> list[str]:
    """The keys of a request; raises Refusal unless there is one a video, and each names one."""
    if len(keys) != count:
        raise Refusal(
            f"A request must name every video or none, but has {len(keys)} keys for {count} videos: "
            f"send {count}, or none."
        )
    for key in keys:
        check_key(key, "the request's keys")
    doubled = [key for key, times in Counter(keys).items() if times > 1]
    if doubled:
        raise Refusal(f"A key must be unique in a request, but '{doubled[0]}' comes twice: rename one.")
    return keys


def _check_array(name: str, values: Any, width: int) -> Float[np.ndarray, "video second _"]:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise Refusal(
            f"A feature must be nested lists of numbers of equal lengths, but '{name}' is not: "
            f"send {SECONDS} seconds a video, {width} numbers a second."
        ) from None
    if array.ndim != 3 or array.shape[1:] != (SECONDS, width):
        raise Refusal(
            f"A feature must have {SECONDS} seconds a video and the parser's width, but '{name}' has shape "
            f"{array.shape}: send (videos, {SECONDS}, {width}), a shorter video filled up with zeros."
        )
    if not np.isfinite(array).all():
        video, second, column = np.argwhere(~np.isfinite(array))[0]
        raise Refusal(
            f"Feature values must be finite, but '{name}' holds {array[video, second, column]} in video {video}, "
            f"second {second}, column {column}: extract it again."
        )
    return array
