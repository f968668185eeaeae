"""No password, token or signature of an address is left in what is printed or logged."""

import pytest

from launch.tracking.redact import redacted, redacted_address

WORD = "hunter2"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"https://name:{WORD}@host:5000/path", "https://***@host:5000/path"),
        (f"postgresql+psycopg2://name:{WORD}@host/db", "postgresql+psycopg2://***@host/db"),
        (f"https://{WORD}@host", "https://***@host"),
        (f"https://name:a@b/{WORD}@host/x", "https://***@host/x"),
        (f"https://host/x?token={WORD}", "https://host/x?***"),
        (f"https://host/x?X-Amz-Signature={WORD}&X-Amz-Date=1", "https://host/x?***"),
        (f"https://host/x#access_token={WORD}", "https://host/x#***"),
        (f"s3://key:{WORD}@bucket/x?sig={WORD}", "s3://***@bucket/x?***"),
        (
            f'{{"uri": "https://n:{WORD}@host?sig={WORD}", "b": "c?d@e"}}',
            '{"uri": "https://***@host?***", "b": "c?d@e"}',
        ),
        (f"('https://a/x', 'https://n:{WORD}@b/x')", "('https://a/x', 'https://***@b/x')"),
        (f"https://a/x,https://n:{WORD}@b/x", "https://a/x,https://***@b/x"),
        (f"--uri=https://n:{WORD}@b/x --name x@y", "--uri=https://***@b/x --name x@y"),
        (f"[a](https://n:{WORD}@b/x?sig={WORD}) and on", "[a](https://***@b/x?***) and on"),
    ],
)
def test_what_may_be_secret_is_left_out_of_a_text(text: str, left: str) -> None:
    assert redacted(text) == left
    assert redacted(left) == left


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////srv/runs/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1/runs/abc",
        "data/shards/train",
        "name@host: what? nothing",
        "C:\\runs",
        "",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("address", [f"https://name:{WORD} {WORD}@host/x", f"https://name:{WORD}\n@host/x"])
def test_one_address_lacks_its_secret_even_where_it_is_malformed(address: str) -> None:
    assert redacted_address(address) == "https://***@host/x"
