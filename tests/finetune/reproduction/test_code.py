"""Lines of results in git: each committed alone and at once, also where others commit at the same time."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune import reproduce
from finetune.reproduction import code
from finetune.reproduction.results import Identity, Result, Results
from launch.refusal import Refusal
from tests.finetune.reproduction.conftest import Stages


class Repository:
    """A git repository with a file of results in it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.results = folder, folder / "docs" / "r.jsonl"
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout

    def subjects(self) -> list[str]:
        """Of its commits, newest first."""
        return self.git("log", "--format=%s").splitlines()

    def changed(self) -> str:
        return self.git("status", "--porcelain").strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody@example.org")
    return Repository(tmp_path / "repository")


def test_a_line_is_committed_alone_as_soon_as_it_is_there(
    settings: Callable[..., reproduce.Config], stages: Stages, repository: Repository
) -> None:
    git = repository.git
    (repository.folder / "staged.txt").write_text("mine")
    git("add", "staged.txt")
    reproduce.main(settings(results=repository.results, commit=True))
    assert repository.subjects() == ["results: pretrain_multi seed 0", "results: han seed 0"]
    assert git("ls-tree", "-r", "--name-only", "HEAD").split() == ["docs/r.jsonl"]
    assert len(git("show", "HEAD~1:docs/r.jsonl").splitlines()) == 1
    assert git("status", "--porcelain").split() == ["A", "staged.txt"]


def test_commit_outside_git_is_refused_before_anything_is_trained(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    with pytest.raises(Refusal, match=r"git did not take '.*r\.jsonl' .*not a git repository.*mend it and start again"):
        reproduce.main(settings(rows=("han",), commit=True))
    assert stages.again() == []


def result(seed: int) -> Result:
    return Result(Identity("han", seed, {}, 1, {}, {}, ""), "", "", {}, {}, {}, {}, 1, None, {})


def test_lines_that_an_earlier_start_did_not_commit_are_committed_at_the_next_and_only_once(
    repository: Repository,
) -> None:
    Results(repository.results).append(result(0))
    assert repository.changed() == "?? docs/"
    for _ in range(2):
        Results(repository.results, commit=True).begin()
    assert (repository.subjects(), repository.changed()) == (["results: lines of an earlier start"], "")


def test_where_there_is_no_line_yet_nothing_is_committed_at_the_start(repository: Repository) -> None:
    Results(repository.results, commit=True).begin()
    assert repository.git("rev-list", "--all") == ""


def test_several_writers_at_once_commit_all_their_lines(repository: Repository) -> None:
    """Each has its own descriptor, so the lock keeps threads apart as it does processes."""
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda seed: Results(repository.results, commit=True).append(result(seed)), range(8)))
    assert sorted(repository.subjects()) == [f"results: han seed {seed}" for seed in range(8)]
    assert repository.changed() == ""
    assert len(Results(repository.results).read()) == 8


def test_a_commit_waits_while_somebody_else_commits(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = repository.folder / ".git" / "index.lock"
    busy.touch()
    monkeypatch.setattr(code.time, "sleep", lambda _: busy.unlink())
    Results(repository.results, commit=True).append(result(0))
    assert (repository.subjects(), busy.exists()) == (["results: han seed 0"], False)


def test_a_lock_that_stays_is_told_with_the_line_kept(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.folder / ".git" / "index.lock").touch()
    monkeypatch.setattr(code, "TRIES", 3)
    monkeypatch.setattr(code, "PAUSE", 0)
    with pytest.raises(Refusal, match=r"git did not take .*index\.lock.*what was finished is in the file"):
        Results(repository.results, commit=True).append(result(0))
    assert len(Results(repository.results).read()) == 1


def test_a_file_that_git_ignores_is_refused(repository: Repository) -> None:
    (repository.folder / ".gitignore").write_text("docs\n")
    with pytest.raises(Refusal, match=r"git did not take .*ignored"):
        Results(repository.results, commit=True).append(result(0))


def test_code_is_that_of_the_rooms_and_of_the_encoder_and_new_files_of_them_count(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [repository.folder / name for name in ("finetune/a.py", *code.ENCODER, "pretrain/train.py")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("1")
    monkeypatch.setattr(code, "HOME", repository.folder)
    monkeypatch.setattr(code, "__file__", str(files[0]))
    repository.git("add", ".")
    repository.git("commit", "--quiet", "--message", "all")
    digests = [code.code()]
    assert not code.commit().endswith("-dirty")
    for file in files:
        file.write_text("2")
        digests.append(code.code())
    assert len(set(digests)) == 4
    assert digests[-1] == digests[-2], "no row runs the pre-training itself"
    repository.git("checkout", "--quiet", ".")
    assert not code.commit().endswith("-dirty")
    (repository.folder / "finetune" / "new.py").touch()
    assert code.commit().endswith("-dirty")


def test_what_somebody_else_committed_meanwhile_is_not_committed_again(repository: Repository) -> None:
    Results(repository.results).append(result(0))
    for message in ("theirs", "ours"):
        code.keep(repository.results, message)
    assert repository.subjects() == ["theirs"]
