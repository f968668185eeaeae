"""Settings: later files win, then the command line; what does not exist is refused with the nearest right name."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from launch.refusal import Refusal
from launch.settings import Settings, in_group, load, names


class Training(Settings):
    """How it trains."""

    rate: float = Field(3e-4, gt=0, description="learning rate")
    epochs: int = Field(40, description="passes over the data")
    nesterov: bool = False


class Config(Settings):
    """A stage for the tests."""

    shards: Path = Field(description="folder of shards")
    training: Training = Training(epochs=7)
    visual: tuple[str, ...] = ("resnet152",)
    seed: int | None = None


def toml(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def read(*files: Path, arguments: tuple[str, ...] = ()) -> Config:
    return load(Config, files, arguments, "test")


def test_later_files_win_and_the_command_line_wins_over_all(tmp_path: Path) -> None:
    first = toml(tmp_path, "a.toml", 'shards = "one"\n[training]\nepochs = 1\nrate = 0.1')
    second = toml(tmp_path, "b.toml", "[training]\nepochs = 2")
    config = read(first, second, arguments=("--training.rate", "0.5", "--visual", "x", "y", "--seed", "3"))
    assert config == Config(shards=Path("one"), training=Training(epochs=2, rate=0.5), visual=("x", "y"), seed=3)


def test_a_partial_table_keeps_the_defaults_of_the_class_that_holds_it(tmp_path: Path) -> None:
    config = read(toml(tmp_path, "a.toml", 'shards = "s"\n[training]\nrate = 0.1'))
    assert config.training == Training(epochs=7, rate=0.1)


def test_a_sentence_names_settings_as_they_are_called_in_a_group() -> None:
    told = "Give --rate 1 (--epochs=2), 'x--rate', --rater, --training.rate, --rate.x or --nesterov."
    assert in_group(told, Training, "training") == (
        "Give --training.rate 1 (--training.epochs=2), 'x--rate', --rater, --training.rate, --rate.x or "
        "--training.nesterov."
    )


def test_switches_take_a_value_like_every_setting() -> None:
    assert read(arguments=("--shards", "s", "--training.nesterov", "True")).training.nesterov
    assert not read(arguments=("--training.nesterov", "False", "--shards", "s")).training.nesterov


def test_help_shows_what_stands_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for subject, shown in (("shards", "SHARDS"), ("visual", "[VISUAL …]"), ("seed", "[SEED]")):
        with pytest.raises(SystemExit):
            load(Config, (), ["--training.nesterov", "-h"], "go", subject)
        assert f"go [FILE.toml …] {shown} [-h]" in " ".join(capsys.readouterr().out.split())


def test_a_folder_in_place_of_a_settings_file_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"must be settings files \(\.toml\), but '.*' is a folder: name the setting"):
        read(tmp_path)


def test_a_switch_named_alone_is_switched_on() -> None:
    for arguments in (("--training.nesterov", "--shards", "s"), ("--shards", "s", "--training.nesterov")):
        assert read(arguments=arguments).training.nesterov


def test_a_rule_broken_on_the_command_line_is_one_sentence() -> None:
    with pytest.raises(Refusal, match=r"^Setting 'rate' of Training: .*greater than 0 \(found -2.0\)\.$"):
        read(arguments=("--shards", "s", "--training.rate", "-2"))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Training().rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "found", "nearest"),
    [
        ("shard = 1", "'shard'", "'shards'"),
        ("[training]\nepoch = 1", "'training.epoch'", "'training.epochs'"),
        ("[trainin]\nepochs = 1", "'trainin'", "'training'"),
    ],
)
def test_a_misspelt_key_of_a_file_is_refused_with_the_nearest_name(
    tmp_path: Path, text: str, found: str, nearest: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        read(toml(tmp_path, "a.toml", text))
    assert found in str(refusal.value)
    assert f"did you mean {nearest}" in str(refusal.value)
    assert "a.toml" in str(refusal.value)


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [("--training.epoch", "training.epochs"), ("--epochs=3", "training.epochs"), ("--sedd", "seed")],
)
def test_a_misspelt_flag_is_refused_with_the_nearest_name(flag: str, nearest: str) -> None:
    with pytest.raises(Refusal, match=f"command line does not: did you mean '{nearest}'"):
        read(arguments=("--shards", "s", flag, "3"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('shards = "s"\n[training]\nrate = "fast"', "rate.*found 'fast'"),
        ('shards = "s"\ntraining = 3', "'training'.*must be a table"),
        ("shards = ", "must be TOML"),
        ('shards = "s"\n[training]\nrate = -1', r"'rate' of Training: .*greater than 0 \(found -1.0\)"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        read(toml(tmp_path, "a.toml", text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'shards = "\xff"')
    with pytest.raises(Refusal, match=r"must be TOML, but .*a\.toml"):
        read(tmp_path / "a.toml")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="must be readable"):
        read(tmp_path / "none.toml")


def test_a_required_setting_that_is_absent_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        read()
    assert leaving.value.code == 2
    assert "--shards" in capsys.readouterr().err


def test_help_shows_every_setting_with_meaning_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(arguments=("--help",))
    shown = capsys.readouterr().out
    for name in names(Config):
        assert f"--{name}" in shown
    words = " ".join(shown.replace("│", " ").split())
    assert "[FILE.toml …]" in words
    for meaning in (
        "folder of shards (required)",
        "learning rate (default: 0.0003)",
        "passes over the data (default: 7)",
    ):
        assert meaning in words
