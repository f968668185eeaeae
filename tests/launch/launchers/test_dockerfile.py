"""The image is pinned, holds the code alone, and runs as nobody's root. It is linted here, and built elsewhere."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from launch.launchers.pods import HOUSE
from launch.launchers.settings import KubernetesSettings

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, each on one line, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in whole.splitlines() if line)]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())


def given(word: str) -> list[str]:
    """What stands behind every instruction of a name."""
    return [rest for name, rest in DOCKERFILE if name == word]


def linted(file: Path) -> list[str]:
    """The rules that hadolint finds broken."""
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", "--format", "json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [f"{each['code']} in line {each['line']}" for each in json.loads(done.stdout)]


def test_hadolint_finds_nothing() -> None:
    assert linted(ROOT / "Dockerfile") == []


def test_hadolint_would_find_a_base_that_is_not_pinned(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM ubuntu\n")
    assert linted(tmp_path / "Dockerfile") == ["DL3006 in line 1"]


def test_both_stages_stand_on_one_cuda_base_of_a_whole_version() -> None:
    (base,) = given("ARG")
    assert re.fullmatch(r"BASE=nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d+\.\d+(@sha256:[0-9a-f]{64})?", base)
    assert [each.split()[0] for each in given("FROM")] == ["${BASE}", "${BASE}"]


def test_it_runs_as_the_user_that_a_pod_runs_as() -> None:
    user = KubernetesSettings().user
    assert given("USER") == [f"{user}:{user}"]
    last = max(index for index, (word, _) in enumerate(DOCKERFILE) if word in ("RUN", "COPY"))
    assert DOCKERFILE.index(("USER", f"{user}:{user}")) > last, "what was made as root is not written by the user"
    assert any(f"useradd --uid {user} --gid {user}" in each for each in given("RUN"))


def test_everything_that_is_installed_is_pinned_and_leaves_no_cache() -> None:
    installs = [part for each in given("RUN") for part in re.split(r"&&", each) if "pip install" in part]
    assert len(installs) == 2
    for install in installs:
        assert "--no-cache-dir" in install
        assert "--constraint constraints.txt" in install
    pinned = re.compile(r"[A-Za-z0-9._-]+==[0-9][^=\s]*")
    for file in ("constraints.txt", "constraints-image.txt"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
        assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_the_extras_that_it_installs_exist_and_one_of_them_is_faiss() -> None:
    (chosen,) = [each for each in given("RUN") if "optional-dependencies" in each]
    extras = re.findall(r"more\['(\w+)'\]", chosen)
    known = PROJECT["project"]["optional-dependencies"]
    assert set(extras) <= set(known)
    assert len([each for each in extras if any("faiss" in line for line in known[each])]) == 1


def test_what_is_copied_is_the_code_and_all_of_it() -> None:
    copied = [word for each in given("COPY") if not each.startswith("--from") for word in each.split()[:-1]]
    packages = {name.split(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert packages <= set(copied)
    assert all((ROOT / word).exists() for word in copied)
    rules = [line for line in IGNORED if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(copied)


def test_nothing_secret_is_built_in() -> None:
    assert given("ADD") == []
    names = re.findall(r"\b([A-Z_]+)=", " ".join(given("ENV") + given("ARG")))
    assert not [name for name in names if re.search("TOKEN|PASSWORD|SECRET|KEY", name)]


@pytest.mark.parametrize("label", ["title", "version", "licenses", "description"])
def test_its_labels_are_those_of_the_project(label: str) -> None:
    project = PROJECT["project"]
    known = {"title": project["name"], "licenses": project["license"]} | {
        k: project[k] for k in ("version", "description")
    }
    assert f'org.opencontainers.image.{label}="{known[label]}"' in given("LABEL")[0]


def test_a_pod_runs_this_image_in_the_folder_where_the_code_lies() -> None:
    project = PROJECT["project"]
    assert KubernetesSettings().image == f"{project['name']}:{project['version']}"
    assert given("WORKDIR") == [HOUSE, HOUSE]
    assert json.loads(given("ENTRYPOINT")[0])[-3:] == ["python", "-m", "launch"]


def test_what_it_installs_is_what_the_project_depends_on(tmp_path: Path) -> None:
    """The shell runs the very words that read the dependencies out of pyproject.toml."""
    (whole,) = [each for each in given("RUN") if "optional-dependencies" in each]
    read = whole.split("&&")[0].replace("/tmp/requirements.txt", str(tmp_path / "read"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", read], cwd=ROOT, check=True, timeout=60, env={"PATH": path})
    found = (tmp_path / "read").read_text().splitlines()
    extras = PROJECT["project"]["optional-dependencies"]
    expected = [*PROJECT["project"]["dependencies"], *extras["cuda12"], *extras["s3"], *extras["gs"]]
    assert found == expected
