"""Target: where a stage may put its result, and what of that it may replace."""

from pathlib import Path

from launch.refusal import Refusal

RESULTS = (
    *(".tar", ".json", ".safetensors", ".npy", ".csv", ".png", ".parquet", ".html", ".eaf"),
    *(".audio.txt", ".visual.txt", ".audio_visual.txt", "MODEL_CARD.md"),
    *(".pfsx", ".DS_Store", "Thumbs.db"),
)
"""How the names of files end that stages write, and of those that viewers leave beside them: ELAN, a window of a
folder. A folder that holds any other is never replaced, …"""
INDEXES = (
    *("manifest.json", "corpus.json", "films.json", "graph.json", "settings.json", "scores.json", "probe.json"),
    *("clips.json", "parses.json", "videos.json"),
)
"""… nor one that holds none of these, in itself or in a folder of it: what every stage's result begins with."""
FILMS = "films.json"
"""What a folder of films holds: there alone video files are a stage's result, and may be replaced."""


def check_target(path: Path, replace: bool) -> None:
    """Raises Refusal where a result could not take its place at `path`, so that a stage can say so at its start."""
    file = next((each for each in path.parents if each.is_file()), None)
    if file:
        raise Refusal(f"An output folder must lie in a folder, but '{path}' lies in the file '{file}': give another.")
    if path.exists() and not path.is_dir():
        raise Refusal(f"An output folder must not be a file, but '{path}' is one: give another --out.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    found = _no_result(path)
    if not replace:
        instead = "" if found else ", or --replace True to let the new result take its place"
        raise Refusal(f"An output folder must be new or empty, but '{path}' holds files: give another --out{instead}.")
    if found:
        raise Refusal(f"Only a stage's result may be replaced, but '{path}' {found}: give another --out.")


def _no_result(path: Path) -> str:
    """What tells that no stage wrote a folder, or that it is in use; empty for a stage's result."""
    if Path.cwd().is_relative_to(path.resolve()):
        return "is where this command runs"
    kinds = (*RESULTS, ".mp4") if (path / FILMS).exists() else RESULTS
    foreign = next((file for file in path.rglob("*") if file.is_file() and not file.name.endswith(kinds)), None)
    if foreign:
        return f"holds '{foreign.relative_to(path)}', which no stage wrote"
    if not any(list(path.glob(f"{folder}{name}")) for folder in ("", "[!.]*/") for name in INDEXES):
        return f"holds nothing that a stage's result begins with, such as '{INDEXES[0]}'"
    return ""
