"""A planted corpus of snippets as vectors, with the truth of who shares what: the ground of the graph's benchmarks.

    planted(folder, videos=29_000, seed=0)     # 290,000 snippets, audio 128-d and visual 512-d

What makes it hard is what makes real corpora hard, and nothing is adjusted to what the graph does with it:

- 300 contents (what sounds, what is seen), the largest 5.6%, the smallest 0.07% of the videos, in 40 families that
  resemble each other; a content has 2 to 12 forms, and a video shows one of them.
- Features are rectified and lean one way: two videos at random have a cosine of 0.17 to 0.53 in audio, 0.28 to 0.49 in
  visual (5th, 95th percentile), neighbouring seconds 0.96 in the median. Videos differ by 32 and seconds by 12
  correlated factors (room, camera, motion), some far more than others.
- 30% of the videos show another content than they play (the bridges); in 35% of the videos each modality changes its
  content once; in 15% a second form is mixed in at up to 0.45, of which the truth does not speak.
- 4% of the seconds are silent and 1.5% black, most of them nearly identical, some with something faint in them.
- 1.5% of the videos are copies of others, a third of them exact, the rest noisy; a few are copied often.

The visual 512 are 2048 rectified numbers through a seeded Gaussian projection; `width=2048` leaves them as they are.
Everything is a function of (videos, seed): latents are drawn whole, rows are made a block at a time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int
from xxhash import xxh3_128_digest

from graph.rows.matrix import Matrix, header, open_matrix
from launch.progress import track
from shards.schema import SECONDS

CONTENTS, FAMILIES, SLOW, FAST = 300, 40, 32, 12
RANK = 128
"""Directions in which contents differ; the numbers a row are more, and depend on each other."""
BLOCK = 8000
MANIFEST = "planted"
NONE = -1
"""The content of a silent or a black snippet: it shares nothing with anybody."""


@dataclass(frozen=True)
class Truth:
    """What was planted in each snippet; content ids are common to both modalities."""

    audio: Int[np.ndarray, " snippet"]
    """The content that sounds; NONE where it is silent."""
    visual: Int[np.ndarray, " snippet"]
    bridge: Bool[np.ndarray, " snippet"]
    """Sound and picture of this video were drawn apart."""
    copy: Bool[np.ndarray, " snippet"]
    """Copied from another video, which has the same contents."""


@dataclass(frozen=True)
class Planted:
    """The rows of both modalities, memory-mapped, and the truth."""

    audio: Matrix
    visual: Matrix
    truth: Truth


@dataclass(frozen=True)
class _Latent:
    """One modality before there are rows: which forms, how much of the second, and the factors."""

    form: Int[np.ndarray, " snippet"]
    other: Int[np.ndarray, " snippet"]
    mix: Float32[np.ndarray, " snippet"]
    """Weight of the other form."""
    slow: Float32[np.ndarray, "video factor"]
    fast: Float32[np.ndarray, "snippet factor"]
    signal: Float32[np.ndarray, " snippet"]
    """1 for a normal snippet; near 0 for silence or black, which is what remains."""


def planted(folder: Path, videos: int = 29_000, seed: int = 0, width: int = 512) -> Planted:
    """The corpus, its rows and its truth (`truth.npz`) written to `folder`; visual rows 2048 wide are not projected."""
    random = np.random.default_rng([seed, videos])
    copied = _sources(random, videos)
    agreed = _contents(random, videos)
    bridge = random.random(videos) < 0.3
    drawn = {"audio": agreed, "visual": np.where(bridge[:, None], _contents(random, videos), agreed)}
    quiet, matrices, truth = {"audio": 0.04, "visual": 0.015}, {}, {}
    for name, stored, full in (("audio", 128, 128), ("visual", width, 2048)):
        of_modality = np.random.default_rng([seed, full])
        forms, owner = _forms(of_modality, full)
        latent = _latents(random, drawn[name], owner, quiet[name])
        projection = None if stored == full else _projection(np.random.default_rng([seed, full, stored]), full, stored)
        with _new_matrix(folder / f"{name}.matrix", name, (videos * SECONDS, stored)) as rows:
            _render(rows, latent, forms, of_modality, projection)
            _copy(rows, copied, random)
        matrices[name] = open_matrix(folder / f"{name}.matrix", MANIFEST)
        content = np.where(latent.signal < 0.5, NONE, owner[latent.form]).reshape(videos, SECONDS)
        truth[name] = content[copied].ravel()
    copy = copied != np.arange(videos)
    each_second = np.repeat(np.stack([bridge[copied], copy]), SECONDS, axis=1)
    known = Truth(truth["audio"], truth["visual"], *each_second)
    np.savez(folder / "truth.npz", **asdict(known))
    return Planted(matrices["audio"], matrices["visual"], known)


@contextmanager
def _new_matrix(path: Path, name: str, shape: tuple[int, int]) -> Iterator[np.memmap]:
    """The rows of a matrix file, to be filled; their digests follow at the end, as the graph writes them."""
    start = header(*shape, {"feature": name, "manifest": MANIFEST, "made": "planted"})
    path.write_bytes(start)
    rows = np.memmap(path, np.float16, "r+", offset=len(start), shape=shape)
    yield rows
    rows.flush()
    with path.open("ab") as file:
        file.write(b"".join(xxh3_128_digest(row.tobytes()) for row in rows))


def _shares() -> np.ndarray:
    shares = 1 / (4 + np.arange(CONTENTS))
    return shares / shares.sum()


def _contents(random: np.random.Generator, videos: int) -> Int[np.ndarray, "video part"]:
    """The two contents of each video, before and after a change that not every video has."""
    return random.choice(CONTENTS, (videos, 2), p=_shares())


def _sources(random: np.random.Generator, videos: int) -> Int[np.ndarray, " video"]:
    """For each video the one it copies, itself for most; some sources are copied many times."""
    source = np.arange(videos)
    copies = random.random(videos) < 0.015
    originals = random.permutation(source[~copies])
    popular = np.floor(len(originals) * random.random(int(copies.sum())) ** 3).astype(int)
    source[copies] = originals[popular]
    return source


def _forms(
    random: np.random.Generator, width: int
) -> tuple[Float32[np.ndarray, "form width"], Int[np.ndarray, " form"]]:
    """The forms' patterns before rectification (unit variance a number), and the content of each form."""
    count = np.clip((200 * _shares()).astype(int), 2, 12)
    owner = np.repeat(np.arange(CONTENTS), count)
    family = random.integers(0, FAMILIES, CONTENTS)
    parts = [random.standard_normal((size, RANK), np.float32) for size in (FAMILIES, CONTENTS, len(owner))]
    pattern = np.sqrt(0.2) * parts[0][family][owner] + np.sqrt(0.5) * parts[1][owner] + np.sqrt(0.3) * parts[2]
    return (pattern @ random.standard_normal((RANK, width)) / np.sqrt(RANK)).astype(np.float32), owner


def _latents(
    random: np.random.Generator, contents: Int[np.ndarray, "video part"], owner: Int[np.ndarray, " form"], quiet: float
) -> _Latent:
    """All that is drawn for one modality."""
    videos = len(contents)
    first, count = np.searchsorted(owner, contents), np.bincount(owner)[contents]
    form = first + np.floor(count * random.random(contents.shape) ** 1.5).astype(int)  # the first forms are frequent
    change = np.where(random.random(videos) < 0.35, random.integers(1, SECONDS, videos), SECONDS)
    late = np.arange(SECONDS) >= change[:, None]
    mixed = np.where(random.random(videos) < 0.15, random.uniform(0.1, 0.45, videos), 0)
    slow = random.standard_normal((videos, SLOW), np.float32) * _spread(random, videos, 0.55)
    fast = random.standard_normal((videos, SECONDS, FAST), np.float32) * _spread(random, videos, 0.25)[:, None]
    return _Latent(
        form=np.where(late, form[:, 1:], form[:, :1]).ravel(),
        other=np.repeat(random.integers(0, len(owner), videos), SECONDS),
        mix=np.repeat(mixed, SECONDS).astype(np.float32),
        slow=slow,
        fast=fast.reshape(-1, FAST),
        signal=_signal(random, videos, quiet),
    )


def _spread(random: np.random.Generator, videos: int, typical: float) -> Float32[np.ndarray, "video 1"]:
    """How far each video's factors reach: some videos are clean, some are a mess."""
    return (typical * np.exp(random.normal(0, 0.45, (videos, 1)))).astype(np.float32)


def _signal(random: np.random.Generator, videos: int, quiet: float) -> Float32[np.ndarray, " snippet"]:
    """1, or what is left of a snippet that is silent or black; such seconds come in stretches."""
    start, length = random.integers(0, SECONDS, videos), random.integers(1, SECONDS + 1, videos)
    second = np.arange(SECONDS)
    stretch = (second >= start[:, None]) & (second < (start + length)[:, None])
    stretch &= random.random((videos, 1)) < quiet / stretch.mean()
    left = np.minimum(0.03 * np.exp(random.normal(0, 0.7, (videos, SECONDS))), 0.3)
    return np.where(stretch, left, 1).astype(np.float32).ravel()


def _render(
    rows: np.ndarray,
    latent: _Latent,
    forms: Float32[np.ndarray, "form width"],
    random: np.random.Generator,
    projection: Float32[np.ndarray, "full stored"] | None,
) -> None:
    """Writes all rows, a block at a time."""
    width = forms.shape[1]
    decay = [1 / np.sqrt(1 + np.arange(factors) / 4)[:, None] for factors in (SLOW, FAST)]
    decay = [each / np.linalg.norm(each) for each in decay]
    slow, fast = ((each * random.standard_normal((len(each), width))).astype(np.float32) for each in decay)
    offset, silence = random.normal(-0.1, 0.5, (2, width)).astype(np.float32)
    gain = np.exp(random.normal(0, 0.4, width)).astype(np.float32)
    for start in track(range(0, len(rows), BLOCK), f"planting {width} → {rows.shape[1]}", unit=f"× {BLOCK} rows"):
        part = np.s_[start : start + BLOCK]
        mix, signal = latent.mix[part, None], latent.signal[part, None]
        made = (1 - mix) * forms[latent.form[part]] + mix * forms[latent.other[part]]
        made += np.repeat(latent.slow[start // SECONDS : (start + BLOCK) // SECONDS] @ slow, SECONDS, axis=0)
        made += latent.fast[part] @ fast
        made += offset
        made = signal * made + (1 - signal) * silence
        np.maximum(made, 0, out=made)
        made *= gain
        rows[part] = made if projection is None else made @ projection


def _projection(random: np.random.Generator, full: int, stored: int) -> Float32[np.ndarray, "full stored"]:
    return random.standard_normal((full, stored), np.float32) / np.sqrt(np.float32(stored))


def _copy(rows: np.ndarray, source: Int[np.ndarray, " video"], random: np.random.Generator) -> None:
    """Overwrites the copies: a third of them exactly, the others with a coder's noise."""
    for video in np.flatnonzero(source != np.arange(len(source))):
        original = rows[source[video] * SECONDS :][:SECONDS].astype(np.float32)
        noise = random.choice([0, 0.03, 0.1]) * original.std() * random.standard_normal(original.shape)
        rows[video * SECONDS :][:SECONDS] = original + noise
