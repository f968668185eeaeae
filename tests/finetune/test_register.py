"""A registered parser: loaded without pickles, served by a real server over HTTP, and what its model says of itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from finetune import register
from finetune.parser import Parser
from finetune.parses.events import parse_videos
from finetune.scoring.decision import Protocol
from finetune.served.bundle import write_model
from launch.digest import sha256_file
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer

LOOSE = Protocol(gate="none", threshold=0.45)
START = 120
"""Seconds that a server may take until it answers; it imports torch and MLflow."""


def config(corpus: Any, **values: Any) -> register.Config:
    given = {"parser": corpus.work / "untrained", "name": corpus.work.name, "protocol": LOOSE} | values
    return register.Config(tracking=corpus.tracking, **given)


def features(parser: Parser, videos: int) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(videos)
    return {name: dice.standard_normal((videos, 10, width)).astype(np.float32) for name, width in parser.widths.items()}


def local(parser: Parser, sent: dict[str, np.ndarray], keys: list[str]) -> list[dict[str, Any]]:
    tensors = {name: torch.from_numpy(array) for name, array in sent.items()}
    return json.loads(json.dumps([parse.content() for parse in parse_videos(parser, keys, tensors, LOOSE)]))


@pytest.fixture
def address(corpus: Any) -> Iterator[str]:
    """The address of a server of its own process group for a registered parser."""
    corpus.untrained()
    register.main(config(corpus))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [
        str(Path(sys.executable).parent / "mlflow"),
        "models",
        "serve",
        "--env-manager",
        "local",
        "--workers",
        "1",
    ]
    model = ["-m", f"models:/{corpus.work.name}@champion", "--host", "127.0.0.1", "--port", str(port)]
    told = {"MLFLOW_TRACKING_URI": corpus.tracking.store, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (corpus.work / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*program, *model],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=corpus.work,
            env=os.environ | told | {"PATH": path},
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", server, corpus.work / "server.log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"The server does not answer:\n{log.read_text()}")


def post(address: str, body: object) -> tuple[int, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_server_answers_any_number_of_videos_as_the_local_parser_does_and_refuses_in_a_sentence(
    corpus: Any, address: str
) -> None:
    parser = Parser.from_pretrained(corpus.work / "untrained")
    for keys in (["clip_30_40", "-short_101.8_107.8"], ["0", "1", "2"]):
        sent = features(parser, len(keys))
        inputs = {name: array.tolist() for name, array in sent.items()}
        body: dict[str, Any] = {"inputs": inputs}
        if keys != ["0", "1", "2"]:
            body["params"] = {"keys": keys}
        status, found = post(address, body)
        expected = local(parser, sent, keys)
        assert status == 200
        assert any(parse["events"] for parse in expected)
        assert found["predictions"] == expected
    for wrong, words in (
        ({"inputs": inputs, "params": {"keys": ["a"]}}, "has 1 keys for 3 videos: send 3, or none."),
        ({"inputs": inputs | {"sound": [[[None] * 6] * 10] * 3}}, "'sound' holds nan in video 0, second 0"),
        ({"inputs": {"sound": inputs["sound"]}}, "Model is missing inputs ['frames', 'motion']"),
        ({"inputs": inputs | {"sound": [[[0] * 5] * 10] * 3}}, "Shape of input (3, 10, 5) does not match"),
        ({"sound": 1}, "The input must be a JSON dictionary"),
    ):
        status, found = post(address, wrong)
        assert status == 400
        assert words in found["message"]
        assert "stack_trace" not in found
        assert "Traceback" not in found["message"]


def test_a_registered_parser_loads_without_pickles_by_its_name_and_alias(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    register.main(config(corpus))
    register.main(config(corpus, alias="other"))
    client = MlflowClient(corpus.tracking.store)
    first, second = (client.get_model_version_by_alias(corpus.work.name, alias) for alias in ("champion", "other"))
    assert (int(first.version), int(second.version)) == (1, 2)
    assert first.tags["weights"] == sha256_file(corpus.work / "untrained/parser.safetensors")
    assert client.get_run(first.run_id).data.tags["stage"] == "register"
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    folder = Path(client.get_model_version_download_uri(corpus.work.name, first.version).removeprefix("file://"))
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".pth", ".pt")]
    loaded = mlflow.pyfunc.load_model(str(folder))
    sent = features(parser, 3)
    assert loaded.predict(sent, params={"keys": ["a_0_4", "b", "c"]}) == local(parser, sent, ["a_0_4", "b", "c"])


def test_a_parser_with_its_encoder_inside_is_served_without_any_other_folder(corpus: Any) -> None:
    widths = {feature.name: feature.width for feature in corpus.features}
    layers = ModelSettings(audio=("sound",), visual=("frames", "motion"), layers=1, width=8, heads=2)
    settings = corpus.parser.model_copy(update={"encoder": corpus.work / "nowhere"})
    parser = Parser(settings, widths, Transformer(layers, widths)).eval()
    (corpus.work / "inside").mkdir()
    parser.save(corpus.work / "inside", {})
    write_model(corpus.work / "model", corpus.work / "inside", LOOSE)
    sent = features(parser, 2)
    keys = ["a_0_10", "b_0_5"]
    loaded = mlflow.pyfunc.load_model(str(corpus.work / "model"))
    assert loaded.predict(sent, params={"keys": keys}) == local(parser, sent, keys)


def test_the_models_signature_takes_any_number_of_videos_and_its_example_is_a_request(corpus: Any) -> None:
    parser = Parser.from_pretrained(corpus.untrained())
    write_model(corpus.work / "model", corpus.work / "untrained", LOOSE)
    loaded = mlflow.pyfunc.load_model(str(corpus.work / "model"))
    inputs = loaded.metadata.get_input_schema()
    assert {spec.name: spec.shape for spec in inputs} == {
        name: (-1, 10, width) for name, width in parser.widths.items()
    }
    outputs = loaded.metadata.get_output_schema()
    example = json.loads((corpus.work / "model/serving_input_example.json").read_text())
    (parse,) = loaded.predict(
        {name: np.array(each, np.float32) for name, each in example["inputs"].items()}, example["params"]
    )
    assert list(parse) == outputs.input_names()
    assert parse["key"] == "example_0_10"


def test_a_model_brings_its_code_and_asks_for_pinned_packages_that_an_index_has(corpus: Any) -> None:
    corpus.untrained()
    write_model(corpus.work / "model", corpus.work / "untrained", LOOSE)
    code = corpus.work / "model/code"
    assert {path.name for path in code.iterdir()} == {"launch", "shards", "pretrain", "finetune"}
    requirements = (corpus.work / "model/requirements.txt").read_text().split()
    names = {line.partition("==")[0] for line in requirements}
    assert all("==" in line and "+" not in line for line in requirements)
    program = (
        "import sys, finetune.served.script\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "print(finetune.__path__[0])"
    )
    isolated = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(code)!r})\n{program}"]
    ran = subprocess.run(isolated, capture_output=True, text=True, check=True, cwd=corpus.work, timeout=120)
    modules, place = ran.stdout.splitlines()
    assert place == str(code / "finetune")
    ours = {"jaxtyping", "mlflow", "numpy", "pydantic", "rich", "safetensors", "torch", "tyro", "webdataset", "xxhash"}
    others = {"deepspeed", "faiss", "matplotlib", "networkx"}
    assert names == ours <= set(modules.split())
    assert not others & set(modules.split())


def test_what_cannot_be_registered_is_refused_and_leaves_no_version(corpus: Any) -> None:
    with pytest.raises(Refusal, match="give the folder that finetune wrote"):
        register.main(config(corpus))
    corpus.untrained()
    with pytest.raises(Refusal, match=r"Thresholds per class .* it has none"):
        register.main(config(corpus, protocol=Protocol(thresholds="per_class")))
    for values, words in (({"alias": "v1"}, "reserves"), ({"alias": "a b"}, "pattern"), ({"name": "a/b"}, "pattern")):
        with pytest.raises(Refusal, match=words):
            config(corpus, **values)
    client = MlflowClient(corpus.tracking.store)
    assert not client.search_model_versions(f"name='{corpus.work.name}'")
