"""The one place where a video file is opened: safely, as a file alone, and only where its content says what it is."""

from collections.abc import Iterator, Sequence
from errno import EBUSY, EINVAL
from pathlib import Path
from typing import Any

import av

from shards.extract.decoding import BadClip

MAX_PIXELS = 1 << 26
"""Pixels of a picture at most, unless the settings say otherwise: twice a picture of 8K."""
POINTING = {
    "alias_pix", "alsa", "avisynth", "concat", "dash", "fbdev", "ffmetadata", "hls", "image2", "image2pipe", "imf",
    "jack", "kmsgrab", "lavfi", "mpjpeg", "oss", "rtp", "rtsp", "sap", "sdp", "v4l2", "vapoursynth", "video4linux2",
    "vobsub", "webm_dash_manifest", "x11grab",
}  # fmt: skip
"""Formats that are not what they hold: they name other files or addresses, or are devices."""
TEXT = {"adf", "bin", "idf", "tty", "xbin"}
"""Formats by which FFmpeg makes pictures out of any text."""
RAW = {
    "acm", "adp", "afc", "alaw", "aptx", "aptx_hd", "binka", "bitpacked", "cdg", "codec2raw", "data", "daud", "dfpwm",
    "g722", "g723_1", "g726", "g726le", "g728", "g729", "gsm", "ilbc", "mtaf", "mulaw", "qoa", "rawvideo", "sbc",
    "simbiosis_imx", "sln", "svs", "v210", "v210x", "vag", "vidc", "wady", "xmd", "s8", "u8",
    *(f"{kind}{bits}{order}" for kind in "su" for bits in (16, 24, 32) for order in ("be", "le")),
    *(f"f{bits}{order}" for bits in (32, 64) for order in ("be", "le")),
}  # fmt: skip
"""Formats that FFmpeg takes a file for by its name alone, whatever it holds, and makes sound or pictures of."""
_LISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"RTSPtext", b"v=0\n", b"v=0\r")


def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Any:
    """The open file (an `av` container), to be used by `with`; raises BadClip where it cannot be opened.

    FFmpeg gets the file's full path behind `file:`, so that no name is an address or an option, may open nothing else,
    and takes no format that names other files.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _formats(), "max_pixels": str(max_pixels)}
    if path.exists() and not path.is_file():
        raise BadClip(f"'{path}' must be a file, but is something else: leave it out.")
    try:
        with path.open("rb") as file:
            head = file.read(1000)
    except OSError as error:
        raise unreadable(path, error) from None
    if not head:
        raise BadClip(f"A video must hold something, but '{path}' is empty: leave it out or fetch it again.")
    try:
        return av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise _not_a_video(path, head, error) from None


def unreadable(path: Path, error: OSError) -> BadClip:
    """The sentence for a file that the system does not give."""
    return BadClip(f"'{path}' must be readable, but is not ({error.strerror}): see to it.")


def packets_of(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    """The packets of these tracks, as far as the file can be read."""
    try:
        yield from container.demux(*streams)
    except (av.error.FFmpegError, IndexError):  # PyAV trips over tracks that turn up in the middle of a damaged file
        return


def _formats() -> str:
    return ",".join(sorted(set(av.formats_available) - POINTING - TEXT - RAW))


def _not_a_video(path: Path, head: bytes, error: Exception) -> BadClip:
    if head.startswith(_LISTS) or b"<MPD" in head:
        return BadClip(
            f"A video must hold its pictures and its sound itself, but '{path}' is a list of other files or "
            "addresses: give the files that it names."
        )
    if getattr(error, "errno", None) == EINVAL:  # by its name it is of a format that is not taken
        return BadClip(
            f"A video must show by its content what it is, but '{path}' is text, a still picture, or raw samples "
            "without a header: leave it out, or convert it."
        )
    busy = getattr(error, "errno", None) == EBUSY  # so FFmpeg calls raw pictures whose size is too large for it
    told = "pictures too large" if busy else getattr(error, "strerror", None) or str(error)
    return BadClip(
        f"'{path}' must be a video, but FFmpeg finds none in it ({told}): it is something else, has pictures beyond "
        "--max_pixels, or was cut off before its index; fetch it again or leave it out."
    )
