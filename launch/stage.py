"""The stages of the house by name. Modules are named as strings: the floor imports none of the rooms above it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from launch.refusal import Refusal
from launch.settings import Settings


@dataclass(frozen=True)
class Stage:
    """One step of the way from features to scores: a module with `Config` and `main(config)`."""

    name: str
    module: str
    summary: str
    distributed: bool = False
    """Whether `job.processes` copies of it work together under the deepspeed launcher."""
    resumes: bool = False
    """Whether it goes on by itself where a start that died was; then a death is followed by another start."""
    stops: bool = False
    """Whether it leaves at its next step when it is asked to, with what it did on the disk."""
    subject: str = ""
    """The setting whose values may stand on the command line by themselves; "": none has that."""

    def load(self) -> tuple[type[Settings], Callable[[Settings], None]]:
        """The stage's settings class and its main function; imports the module."""
        module = import_module(self.module)
        return module.Config, module.main

    def check(self, config: Settings) -> None:
        """Lets a distributed stage refuse inputs in this process, before it starts others that would refuse them."""
        import_module(self.module).check(config)


_LIST = (
    Stage("doctor", "launch.doctor.examine", "what is wrong with this machine or cluster, and what to do about it"),
    Stage("synthesise", "shards.synthesise", "plants a corpus in LLP's layout: features and label tables"),
    Stage("film", "shards.extract.filming.film", "films clips whose events are known, and writes their tables"),
    Stage("pack", "shards.pack", "features (.npy folders, TFRecords, tars) → WebDataset shards"),
    Stage("extract", "shards.extract.extract", "video files → WebDataset shards of features", subject="videos"),
    Stage("verify", "shards.verify", "checks shards against their manifest, and tells what their values look like"),
    Stage("graph", "graph.build", "shards → similarity forests, components, a report", distributed=True, resumes=True),
    Stage("inspect", "graph.inspect", "what ties a snippet to its component: neighbours, hubs, chains, GraphML"),
    Stage(
        "pretrain",
        "pretrain.train",
        "shards, components → cross-modal encoder",
        distributed=True,
        resumes=True,
        stops=True,
    ),
    Stage("export", "pretrain.export", "encoder, shards → shards of embeddings"),
    Stage("probe", "pretrain.probe", "encoder, labelled shards → linear probes and retrieval by labels"),
    Stage("finetune", "finetune.train", "shards of either kind, LLP tables → parser", resumes=True, stops=True),
    Stage("evaluate", "finetune.evaluate", "parser, shards, LLP tables → scores, table, plot"),
    Stage("predict", "finetune.predict", "parser, shards or feature files → parses: JSON, label files, timelines"),
    Stage(
        "parse", "finetune.parse", "video files, parser → who is heard and seen when: JSON, a page", subject="videos"
    ),
    Stage("register", "finetune.register", "parser → a model in MLflow's registry, to be served over HTTP"),
    Stage("reproduce", "finetune.reproduce", "shards, LLP tables → the paper's tables, every row and seed"),
    Stage("sync", "launch.tracking.sync", "runs that their MLflow store does not have yet → the store"),
    Stage(
        "lineage", "launch.tracking.trace", "a run, or a folder → all that it was made from, as a tree", subject="of"
    ),
    Stage("demo", "launch.demo", "all of the above in turn on a planted corpus, ending with a table"),
    Stage("demo_video", "launch.demo_video", "films, extract, finetune, parse in turn, ending with pages to look at"),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _LIST}


def find(name: str) -> Stage:
    """The stage of that name; raises Refusal with the nearest right name when there is none."""
    if name in STAGES:
        return STAGES[name]
    near = difflib.get_close_matches(name, STAGES, n=1, cutoff=0.4)
    remedy = f"did you mean '{near[0]}'?" if near else f"the stages are {', '.join(STAGES)}."
    raise Refusal(f"A stage must be one of this house's, but '{name}' is not: {remedy}")
