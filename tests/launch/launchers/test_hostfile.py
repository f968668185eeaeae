"""Hosts are read as DeepSpeed reads them, and what it would misread is refused with the line."""

from pathlib import Path

import pytest

from launch.launchers.hostfile import Host, read_hostfile
from launch.refusal import Refusal


def test_hosts_come_in_the_order_of_their_lines_whatever_stands_between(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# ours\n\nworker-2\tslots=8\t# the big one\r\n  10.0.0.1   slots=2\n\t\nnode_3 slots=1\n")
    assert read_hostfile(file) == (Host("worker-2", 8), Host("10.0.0.1", 2), Host("node_3", 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a slots=1\nb slots=2\na slots=3\n", r"every host once, but '.*hosts' line 3 has 'a' again \(first in line 1"),
        ("a slots=1\n# b\nb slots=0\n", r"at least one process, but '.*hosts' line 3 gives 'b' slots=0"),
        ("a\n", r"lines `NAME slots=N`, but '.*hosts' line 1 has 'a'"),
        ("a slots=two\n", r"line 1 has 'a slots=two'"),
        ("a slots=2x\n", r"line 1 has 'a slots=2x'"),
        ("a slots=-1\n", r"line 1 has 'a slots=-1'"),
        ("a slots = 2\n", r"line 1 has 'a slots = 2'"),
        ("a slots=2 max_slots=4\n", r"line 1 has 'a slots=2 max_slots=4'"),
        ("me@a slots=2\n", r"by letters, .* line 1 has 'me@a'.*~/\.ssh/config"),
        ("fe80::1 slots=2\n", r"line 1 has 'fe80::1'"),
        ("-oProxyCommand=x slots=2\n", r"by letters, .* line 1 has '-oProxyCommand=x'"),
        ("node[1-4] slots=2\n", r"line 1 has 'node\[1-4\]': write one line a host"),
        ("# nobody\n\n", r"at least one host, but '.*hosts' has none"),
    ],
)
def test_a_line_that_would_be_misread_is_refused_with_its_number(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(Refusal, match=said):
        read_hostfile(tmp_path / "hosts")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "bytes", "."):
        with pytest.raises(Refusal, match=rf"text file, but '.*{name}' cannot be read .*--job\.hostfile"):
            read_hostfile(tmp_path / name)
