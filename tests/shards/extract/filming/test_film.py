"""Filmed clips: what their tables say is in their files, second by second."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from launch.digest import sha256_json
from launch.refusal import Refusal
from launch.tracking import Tracking, trace
from shards.extract.filming.film import KINDS, Config, draw, main
from shards.extract.filming.scenes import CATEGORIES_SHOWN, LOOKS, RATE, sound_of
from shards.labels import CATEGORIES, Tables
from shards.schema import SECONDS
from shards.traced import video_files

FEW = {"train": 1, "validation": 3, "test": 1}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    main(Config(out=folder / "out", **FEW, processes=1, tracking=Tracking(root=folder / "runs")))
    return folder / "out"


def _loudness(path: Path) -> np.ndarray:
    """Root mean square of the sound of each second."""
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    sound = np.concatenate(parts)[: SECONDS * RATE].reshape(SECONDS, -1)
    return np.sqrt((sound**2).mean(axis=1))


def _colourful(path: Path) -> np.ndarray:
    """Share of saturated pixels in a frame of the middle of each second."""
    with av.open(str(path)) as container:
        frames = {
            round(frame.time * 16): frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)
        }
    middles = [frames[second * 16 + 8] for second in range(SECONDS)]
    return np.array([((frame.max(axis=2) - frame.min(axis=2)) > 60).mean() for frame in middles])


def test_what_the_tables_say_is_heard_and_seen_in_the_files(films: Path) -> None:
    tables = Tables.load(films / "tables")
    keys = (*tables.keys("validation"), *tables.keys("test"))
    audio, visual = tables.truth(keys)
    assert audio.any()
    assert visual.any()
    for row, key in enumerate(keys):
        path = films / "videos" / f"{key.removesuffix('_0_10')}.mp4"
        assert np.array_equal(_loudness(path) > 0.02, audio[row].any(axis=0)), key
        assert np.array_equal(_colourful(path) > 0.02, visual[row].any(axis=0)), key


def test_every_kind_of_event_and_every_category_is_drawn() -> None:
    films = [draw(0, "train", number) for number in range(60)]
    kinds = set()
    for film in films:
        for label in film.labels:
            heard, seen = ([span for span in spans if span.category == label] for spans in (film.heard, film.seen))
            kinds.add("seen" if not heard else "heard" if not seen else "both" if heard == seen else "asynchronous")
    assert kinds == set(KINDS)
    assert {CATEGORIES[label] for film in films for label in film.labels} == set(CATEGORIES_SHOWN) == set(LOOKS)


def test_the_same_seed_draws_the_same_clips_and_another_seed_others() -> None:
    def keys_and_spans(seed: int) -> list:
        return [draw(seed, "test", number) for number in range(8)]

    assert keys_and_spans(0) == keys_and_spans(0) != keys_and_spans(1)


@pytest.mark.parametrize("category", CATEGORIES_SHOWN)
def test_all_sounds_are_about_equally_loud_and_none_clips(category: str) -> None:
    sound = sound_of(category, 3)
    assert sound.shape == (3 * RATE,)
    assert np.abs(sound).max() <= 0.5
    assert 0.06 < np.sqrt((sound**2).mean()) < 0.13


def test_videos_that_were_filmed_are_traced_to_their_film_and_others_are_not(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = json.loads((films / "films.json").read_text())["digest"]
    some = [("film-test-0000.mp4", 5)]
    for places in ([films], [films / "videos"], [films / "videos/film-test-0000.mp4", films / "videos"]):
        assert video_files(some, places).digest == digest
    for places in ([tmp_path], [films / "videos", tmp_path]):
        assert video_files(some, places).digest == sha256_json(some)
    trace.main(trace.Config(of=films, tracking=Tracking(root=films.parent / "runs")))
    assert f"videos {digest[:12]} ← film (run" in capsys.readouterr().out


def test_a_folder_with_films_is_not_filmed_into_again(films: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="must be new or empty"):
        main(Config(out=films, **FEW, processes=1, tracking=Tracking(root=tmp_path)))
