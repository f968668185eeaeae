"""The outset: what the training of a parser is about to do, as far as it is known before its first step."""

from finetune.batches import Split
from finetune.parser import ParserSettings
from finetune.trainer import Trainer
from launch.banner import Machines, banner
from launch.world import World


def told(title: str, trainer: Trainer, train: Split, validation: Split, world: World) -> str:
    """The banner of a training that begins, or goes on."""
    recipe, machines = trainer.recipe, Machines.of(world)
    rates, training = sorted({group["lr"] for group in trainer.optimizer.param_groups}), recipe.training
    numbers = sum(each.numel() for each in trainer.parser.parameters())
    facts = {
        "devices": machines.words(),
        "batch": machines.share(training.batch, "videos"),
        "videos": f"{len(train):,} to train on, {len(validation):,} to choose the best epoch by",
        "precision": training.precision,
        "parameters": f"{numbers:,}: {_network(recipe.parser)}",
        "features": ", ".join(recipe.parser.features),
        "steps": f"{trainer.step:,} to {trainer.steps:,}, {trainer.per_epoch:,} an epoch",
        "learning rate": f"{' and '.join(f'{rate:g}' for rate in rates)}, × {training.decay:g} every "
        f"{training.decay_every} epochs",
        "time": "told by the bar of each epoch",
    }
    return banner(title, facts)


def _network(parser: ParserSettings) -> str:
    options = {"skip": parser.skip, "adversarial": parser.adversarial, "gcaa": parser.gcaa}
    chosen = [name for name, on in options.items() if on] + (["an encoder trained along"] if parser.encoder else [])
    return ", ".join([f"{parser.architecture} of width {parser.width}", *chosen])
