"""Lines of results in git: each committed alone and at once, also where others commit at the same time."""

import subprocess
from collections.abc import Callable

import pytest

from finetune import reproduce
from launch.refusal import Refusal
from tests.finetune.conftest import Corpus
from tests.finetune.reproduction.conftest import Stages


def test_a_line_is_committed_alone_as_soon_as_it_is_there(
    settings: Callable[..., reproduce.Config], stages: Stages, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = corpus.work / "repository"
    repository.mkdir()
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "somebody@example.org")

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=repository, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (repository / "staged.txt").write_text("mine")
    git("add", "staged.txt")
    reproduce.main(settings(results=repository / "docs" / "r.jsonl", commit=True))
    assert git("log", "--format=%s").splitlines() == ["results: pretrain_multi seed 0", "results: han seed 0"]
    assert git("ls-tree", "-r", "--name-only", "HEAD").split() == ["docs/r.jsonl"]
    assert len(git("show", "HEAD~1:docs/r.jsonl").splitlines()) == 1
    assert git("status", "--porcelain").split() == ["A", "staged.txt"]


def test_commit_outside_git_is_refused_before_anything_is_trained(
    settings: Callable[..., reproduce.Config], stages: Stages
) -> None:
    with pytest.raises(Refusal, match=r"git did not take '.*r\.jsonl' .*not a git repository.*mend it and start again"):
        reproduce.main(settings(rows=("han",), commit=True))
    assert stages.again() == []
