"""Which library decodes, by name; nothing of it is imported before it is asked for."""

from importlib import import_module
from typing import Literal

from launch.refusal import Refusal
from shards.extract.decoding import Decoder

LIBRARIES = {"pyav": ("pyav", "PyAV", "video"), "torchcodec": ("codec", "TorchCodec", "torchcodec")}
"""Name → module, class, and the extra that installs it."""


def open_decoder(name: Literal["pyav", "torchcodec"], max_pixels: int | None = None) -> Decoder:
    """The decoder, which takes no picture larger than `max_pixels` (None: `container.MAX_PIXELS`).

    Raises Refusal where the library is not installed, or does not find what it needs.
    """
    module, decoder, extra = LIBRARIES[name]
    try:
        of = getattr(import_module(f"shards.extract.decoding.{module}"), decoder)
    except (ImportError, RuntimeError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise Refusal(
            f"Decoding by {name} needs libraries that do not load here ({first}): pip install 'soundsight[{extra}]'"
            + ("." if name == "pyav" else ", and FFmpeg's shared libraries; or take --decoder pyav.")
        ) from None
    return of() if max_pixels is None else of(max_pixels)
