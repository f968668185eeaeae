"""One clip out of what was seen and what was heard, or why it is none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from shards.extract.clips import SLACK, SLIVER, Clip
from shards.extract.decoding import BadClip, Decoded, Picture, Wanted
from shards.extract.decoding.grid import covered, there
from shards.extract.media import AudioTrack, Media, VisualTrack

Frames = UInt8[np.ndarray, "frame height width 3"]
Samples = Float[np.ndarray, " sample"]


@dataclass(frozen=True)
class Found:
    """What came of one track: how much of each second there is, how far it goes, what of it was damaged."""

    cover: Float[np.ndarray, " second"]
    reached: float | None
    """Second of the file at which the track ends, or something later than the clip's end; None: nobody looked."""
    damaged: tuple[float, ...] = ()
    """Seconds of the file where frames within the clip are damaged."""


def absent(clip: Clip) -> Found:
    """What comes of a track that is not there, or not wanted."""
    return Found(np.zeros(clip.seconds), None)


def check_begins(media: Media, clip: Clip) -> None:
    """Raises BadClip for a clip that begins after its file's end."""
    if clip.start >= media.seconds:
        raise BadClip(
            f"A clip must begin before its file ends, but '{clip.key}' begins at second {clip.start:g} and "
            f"'{media.path}' ends at {media.seconds:.1f}: correct the list, or give the whole file.",
            clip.start,
        )


def breaks_off(media: Media, clip: Clip, visual: Found, audio: Found) -> bool:
    """Whether the file ends before the clip does and its header has said otherwise.

    Where only one of two tracks was looked at, its own header must say when it ends: nothing is known else.
    """
    tracks = [(track, found.reached) for track, found in ((media.visual, visual), (media.listened, audio)) if track]
    looked = [(track.end, reached) for track, reached in tracks if reached is not None]
    promised = [media.seconds if len(looked) == len(tracks) else end or 0.0 for end, _ in looked]
    return bool(looked) and max(reached for _, reached in looked) < min(clip.end, max(promised)) - SLACK


def broken_off(media: Media, second: float) -> BadClip:
    """The sentence for a file that ends early, at that second: one and the same for all its clips that lack it."""
    return BadClip(
        f"A clip must be there whole, but '{media.path}' ends at second {second:.1f} of the {media.seconds:.1f} that "
        "its header says, so no clip that reaches beyond is of use: fetch the file again.",
        second,
    )


def assemble(
    media: Media,
    clip: Clip,
    wanted: Wanted,
    seen: tuple[Mapping[Picture, Frames], Found],
    heard: tuple[Mapping[int, Samples], Found],
) -> Decoded:
    """The clip; raises BadClip where a track that should be there gives nothing but damaged frames, and where there is
    nothing at all.
    """
    (frames, visual), (sound, audio) = seen, heard
    for track, found, what in ((media.listened, audio, "sound"), (media.visual, visual, "picture")):
        if track and found.damaged and not found.cover.any() and _promised(track, clip):
            raise BadClip(
                f"A clip must have something that can be decoded, but no whole {what} is left of '{media.path}' from "
                f"second {clip.start:g} to {clip.end:g}: it is damaged; fetch the file again.",
                clip.start,
            )
    length = min(clip.end - clip.start, clip.seconds)
    present = np.stack([there(found.cover, length) for found in (audio, visual)])
    tracks = ((media.listened, audio), (media.visual, visual))
    if not present.any() and all(found.reached is not None for track, found in tracks if track):
        raise BadClip(
            f"A clip must have some sound or picture, but '{media.path}' has neither from second {clip.start:g} to "
            f"{clip.end:g}: leave that part out.",
            clip.start,
        )
    notes = _damage("frame", visual) + _damage("piece", audio, " of sound")
    return Decoded(clip, frames, sound, present, media.notes + notes)


def _promised(track: AudioTrack | VisualTrack, clip: Clip) -> bool:
    end = clip.end if track.end is None else track.end
    return bool(covered(track.start - clip.start, end - clip.start, clip.seconds).sum() >= SLIVER)


def _damage(what: str, found: Found, of: str = "") -> tuple[str, ...]:
    if not found.damaged:
        return ()
    count = len(found.damaged)
    return (
        f"{count} damaged {what}{'' if count == 1 else 's'}{of} from second {found.damaged[0]:.1f} on "
        f"{'is' if count == 1 else 'are'} left out.",
    )
