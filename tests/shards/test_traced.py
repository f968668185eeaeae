"""What runs say of data: each shard set and each folder of tables by a digest that follows its content."""

from pathlib import Path

from launch.digest import sha256_json
from shards.labels import DENSE_FILES, FULL_FILE, WEAK_FILES
from shards.manifest import Manifest, Shard
from shards.schema import Feature
from shards.traced import label_tables, table_digests, written_set


def test_a_shard_set_is_told_with_its_features_its_size_and_its_manifest() -> None:
    features = {"vggish": Feature("vggish", 128, "raw", "here"), "resnet152": Feature("resnet152", 2048, "", "here")}
    manifest = Manifest(features, (Shard("0.tar", 3, 9999, "ab" * 32), Shard("1.tar", 2, 9999, "cd" * 32)), {})
    told = written_set(manifest, Path("/data/shards/train"), "train")
    assert (told.kind, told.digest, told.called) == ("shards", manifest.digest, "shards.train")
    assert told.columns == {"vggish": "float16 10 × 128 raw", "resnet152": "float16 10 × 2048"}
    assert told.facts == {"videos": 5, "shards": 2}
    assert written_set(manifest, "s3://bucket/set").called == "shards"


def test_tables_are_one_thing_whose_digest_changes_with_any_of_them(tmp_path: Path) -> None:
    names = [*WEAK_FILES.values(), FULL_FILE, *DENSE_FILES.values()]
    for name in names:
        (tmp_path / name).write_text(name)
    before = label_tables(tmp_path)
    assert before.digest == sha256_json(table_digests(tmp_path))
    assert set(before.columns) == set(names)
    (tmp_path / names[-1]).write_text("changed")
    assert label_tables(tmp_path).digest != before.digest
