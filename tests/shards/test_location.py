"""Locations: what is one, what is refused, and that no sentence repeats a secret."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from launch.refusal import Refusal
from launch.settings import Settings, load
from shards.location import Location, check_environment, is_remote, join, location, redacted

SECRET = "c2VjcmV0"


class Inner(Settings):
    """Nested settings with a location."""

    also: Location = Field("elsewhere", description="another location")


class Config(Settings):
    """Settings with a location."""

    shards: Location = Field(description="where the shards lie")
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("work/shards", "work/shards"),
        (Path("work/shards"), "work/shards"),
        ("./a:b", "./a:b"),
        ("https://host/set/", "https://host/set"),
        ("HTTP://host:8080/set", "http://host:8080/set"),
        ("https://[::1]/set", "https://[::1]/set"),
        ("http://[2001:db8::7]:8080/set/", "http://[2001:db8::7]:8080/set"),
        ("s3://bucket/set", "s3://bucket/set"),
        ("gs://bucket", "gs://bucket"),
        ("file:///work/a%20b", "/work/a b"),
    ],
)
def test_folders_and_urls_of_five_schemes_are_locations_and_stay_what_they_are(given: str | Path, kept: str) -> None:
    assert Config(shards=given).shards == location(kept) == kept
    assert load(Config, [], ["--shards", str(given)], "test").shards == kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (f"pipe:curl -H {SECRET}", "would run a shell"),
        (f"PIPE:{SECRET}", "would run a shell"),
        (f"ftp://{SECRET}/set", "begin with https, http, s3, gs or file"),
        (f"data:{SECRET}", "begin with https"),
        (f"simplecache::s3://{SECRET}@bucket", "chains several"),
        (f"zip://{SECRET}::https://host/x", "chains several"),
        (f"https://[::1]/x::s3://{SECRET}", "chains several"),
        (f"simplecache::https://[::1]/{SECRET}", "chains several"),
        (f"https://name:{SECRET}@host/set", "no credentials"),
        (f"https://name:a/{SECRET}@host/set", "no credentials"),
        (f"https://name:a#{SECRET}@host/set", "no credentials"),
        (f"s3://key:{SECRET}@bucket/set", "no credentials"),
        (f"https://host/set?X-Amz-Signature={SECRET}", "no credentials"),
        (f"https://host/set#{SECRET}", "no credentials"),
        (f"https://name:{SECRET}/set", "host and a port"),
        (f"https:/host?{SECRET}", "both slashes"),
        ("https:///set", "host or a bucket"),
        ("file://host/set", "folder of this machine"),
        ("", "a folder or a URL"),
        ("a\nb", "control character"),
        ("s3://bucket/\x1b[2J", "control character"),
    ],
)
def test_everything_else_is_refused_in_one_sentence_without_its_secret(
    given: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text(f"[inner]\nalso = {json.dumps(given)}\n")
    ways = [
        lambda: location(given),
        lambda: Config(shards=given),
        lambda: Config(shards="x", inner={"also": given}),
        lambda: load(Config, [], ["--shards", given], "test"),
        lambda: load(Config, [toml], ["--shards", "x"], "test"),
    ]
    for way in ways:
        with pytest.raises(Refusal, match=words) as refusal:
            way()
        assert SECRET not in str(refusal.value)
        assert "\n" not in str(refusal.value)
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err


def test_a_url_is_remote_and_a_folder_is_not() -> None:
    assert is_remote("s3://bucket/set")
    assert is_remote("https://host")
    assert not is_remote("work/shards")
    assert not is_remote("file:///work/shards")


def test_a_join_stays_inside() -> None:
    assert join("work/shards", "train") == "work/shards/train"
    assert join("https://host/set/", "a b.tar") == "https://host/set/a%20b.tar"
    assert join("s3://bucket/set", "a b.tar") == "s3://bucket/set/a b.tar"
    for name in ("", "..", "a/b", "../x", "https://other/x", "a\nb"):
        with pytest.raises(Refusal, match="plain name"):
            join("https://host/set", name)


def test_what_may_be_secret_is_redacted() -> None:
    assert redacted("https://host/set") == "https://host/set"
    assert redacted(f"https://name:{SECRET}@host/set?a={SECRET}#{SECRET}") == "https://***@host/set?***"
    assert redacted(f"pipe:{SECRET}") == "pipe:***"


def test_rewriting_of_urls_is_refused_while_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    check_environment()
    monkeypatch.setenv("GOPEN_REWRITE", f"s3://a={SECRET}")
    with pytest.raises(Refusal, match="GOPEN_REWRITE") as refusal:
        check_environment()
    assert SECRET not in str(refusal.value)
