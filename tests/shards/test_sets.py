"""Which sets there are: one alone, or several by the names of their folders, on disk and below URLs."""

from collections.abc import Callable

import pytest

import shards.sets
from launch.refusal import Refusal
from shards.manifest import Manifest
from shards.remote.fetch import Denied, Missing
from shards.sets import find_sets

EMPTY = Manifest({}, (), {})


def bucket(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Callable[[], Manifest]]) -> None:
    """A bucket that answers for these sets, and says of any other what the last one, `*`, says."""

    def read(location: str, tries: int) -> Manifest:
        return answers.get(location.partition("://")[2].removeprefix("bucket").strip("/"), answers["*"])()

    monkeypatch.setattr(shards.sets, "read_manifest", read)


def there() -> Manifest:
    return EMPTY


def missing() -> Manifest:
    raise Missing("missing")


def denied() -> Manifest:
    raise Denied("credentials are lacking")


@pytest.mark.parametrize(
    ("elsewhere", "said"),
    [(missing, ""), (denied, "'s3://bucket', 's3://bucket/validation', 's3://bucket/unlabelled'.\n")],
)
def test_sets_below_a_bucket_are_found_by_their_names_and_those_that_are_denied_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: Callable[[], Manifest], said: str
) -> None:
    bucket(monkeypatch, {"train": there, "test": there, "*": elsewhere})
    assert {name: place for name, (place, _) in find_sets("s3://bucket", 1).items()} == {
        "train": "s3://bucket/train",
        "test": "s3://bucket/test",
    }
    assert capsys.readouterr().out == (
        said and f"Not looked into, since the store denies them (as it may deny what is missing): {said}"
    )


def test_a_set_that_is_denied_over_http_is_refused_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket(monkeypatch, {"train": there, "test": denied, "*": missing})
    with pytest.raises(Denied):
        find_sets("https://bucket", 1)


def test_a_set_of_its_own_is_found_without_a_look_below(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket(monkeypatch, {"": there, "*": there})
    assert list(find_sets("s3://bucket", 1)) == [""]


def test_where_nothing_is_found_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket(monkeypatch, {"*": missing})
    with pytest.raises(Refusal, match=r"subfolders \(train, validation, test, unlabelled\) that do, but 's3://bucket'"):
        find_sets("s3://bucket", 1)
    bucket(monkeypatch, {"*": denied})
    with pytest.raises(Denied):
        find_sets("s3://bucket", 1)
