"""A training whose MLflow server is killed goes on, and the server that comes back has every point, once."""

from pathlib import Path

from tests.launch.tracking.processes import Server, points
from tests.pretrain.conftest import Planted, chosen
from tests.pretrain.kill_trial import flat, started, wait

STEPS = 60


def test_steps_go_on_while_there_is_no_server_and_none_is_missing_or_doubled(
    planted: Planted, server: Server, tmp_path: Path
) -> None:
    given = chosen(planted, tmp_path / "runs", tmp_path / "out") | {"steps": STEPS, "evaluate_every": 1000}
    given["tracking"] = {"root": tmp_path / "runs", "uri": server.uri, "wait": 120}

    def done() -> int:
        return max((int(path.name[5:]) for path in (tmp_path / "out" / "checkpoints").glob("step-*")), default=0)

    with started(flat(given), "run", tmp_path) as (process, log):
        assert wait(lambda: process.poll() is not None or done() > 0), log.read_text()
        server.kill()
        at = done()
        assert wait(lambda: process.poll() is not None or done() >= min(at + 20, STEPS)), log.read_text()
        assert process.poll() is None, "it waits for the server, whatever it has to send"
        server.start()
        assert process.wait(240) == 0, log.read_text()
    client = server.client()
    (run,) = client.search_runs([client.get_experiment_by_name("soundsight").experiment_id])  # type: ignore[union-attr]
    assert run.info.status == "FINISHED"
    for name in ("loss", "learning_rate"):
        assert [step for step, _ in points(client, run.info.run_id, name)] == list(range(STEPS))
    assert f"The store {server.uri} does not answer" in log.read_text()
