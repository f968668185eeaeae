"""Settings: frozen pydantic models, read from TOML files (later ones win), then from `--dotted.key value`.

    python -m launch finetune finetune/configs/han.toml --training.epochs 8

A key that does not exist is refused before anything starts, with the nearest name that does.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin

import tyro
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from launch.refusal import Refusal

YES_OR_NO = ("true", "false", "yes", "no", "on", "off", "1", "0")
"""What follows a setting that is a yes or a no is meant as its value, right or wrong, if it is one of these."""


class Settings(BaseModel):
    """Base of every settings class: frozen, and a key it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        """Validates; raises Refusal, not pydantic's error, so that a broken rule is one sentence wherever it breaks."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise Refusal(sentence(error, type(self).__name__)) from None


S = TypeVar("S", bound=Settings)


def load(model: type[S], files: Sequence[Path], arguments: Sequence[str], prog: str, subject: str = "") -> S:
    """The validated settings: defaults, then each TOML file in turn, then the `--dotted.key value` arguments.

    Raises Refusal for a file that is missing or not TOML, an unknown key (with the nearest right name), and a value
    that breaks a rule. `--help` among the arguments prints every setting and exits; `subject` is the one whose values
    stand by themselves.
    """
    values: dict[str, Any] = {}
    for file in files:
        _merge(values, _read_toml(file, model))
    _check_flags(model, arguments)
    return tyro.cli(
        model,
        args=_with_values(model, arguments),
        default=_construct(model, values),
        config=(tyro.conf.FlagConversionOff,),
        use_underscores=True,
        prog=" ".join([prog, "[FILE.toml …]", *([usage(model, subject)] if subject else [])]),
        description=f"{model.__doc__} Settings come from the TOML files, later ones win, then from these options.",
    )


def names(model: type[Settings], prefix: str = "") -> list[str]:
    """Every dotted key of a settings class, in its order: `["shards", "model.width", …]`."""
    found = []
    for name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        found += names(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return found


def usage(model: type[Settings], subject: str) -> str:
    """How values that stand by themselves are shown: `VIDEOS …`, `[OF]`."""
    shown = f"{subject.upper()}{' …' if takes(model)[subject] > 1 else ''}"
    return shown if model.model_fields[subject].is_required() else f"[{shown}]"


def takes(model: type[Settings], prefix: str = "") -> dict[str, float]:
    """How many values each dotted key takes on a command line: 0 (a yes or a no), 1, or any number."""
    found = dict[str, float]()
    for name, field in model.model_fields.items():
        inner, kinds = _nested(field.annotation), (field.annotation, *get_args(field.annotation))
        several = any(get_origin(kind) in (tuple, list) for kind in kinds)
        own = {f"{prefix}{name}": 0.0 if field.annotation is bool else float("inf") if several else 1.0}
        found |= takes(inner, f"{prefix}{name}.") if inner else own
    return found


def loose(model: type[Settings], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options with their values, and the words behind them that are the value of none.

    What follows an option that does not exist is taken for its.
    """
    known, kept, found, room, switch = takes(model), list[str](), list[str](), float("inf"), False
    for word in arguments:
        name, given, _ = word.partition("=")
        if word.startswith("--"):
            room = known.get(_key(name), float("inf"))
            switch = room == 0 and not given
            room = 0 if given else room
        elif not word.startswith("-") and room < 1 and not (switch and word.lower() in YES_OR_NO):
            found.append(word)
            switch = False
            continue
        else:
            room, switch = room - 1, False
        kept.append(word)
    return kept, found


def sentence(error: ValidationError, owner: str) -> str:
    """A pydantic error as one sentence a fault: the setting and the class it belongs to, the rule, the value found."""
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        rule = str(fault["msg"]).removeprefix("Value error, ")
        faults.append(f"Setting '{place}' of {owner}: {rule} (found {fault['input']!r})." if place else rule)
    return "\n".join(faults)


def in_group(told: str, model: type[Settings], group: str) -> str:
    """A sentence whose settings (`--name`) are those of a group of another class: `--group.name`."""
    known = "|".join(map(re.escape, sorted(names(model), key=len, reverse=True)))
    return re.sub(rf"(?<![\w.-])--(?=(?:{known})\b(?!\.\w))", f"--{group}.", told)


def _read_toml(file: Path, model: type[Settings]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
    except IsADirectoryError:
        raise Refusal(
            f"Words before all options must be settings files (.toml), but '{file}' is a folder: name the setting "
            "it is for, --help lists them."
        ) from None
    except OSError as error:
        raise Refusal(f"A settings file must be readable, but '{file}' is not: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"A settings file must be TOML, but '{file}' is not: {error}.") from None
    _check_keys(values, model, str(file), "")
    return values


def _check_keys(values: Mapping[str, Any], model: type[Settings], place: str, prefix: str) -> None:
    for name, value in values.items():
        if name not in model.model_fields:
            raise Refusal(_unknown(f"{prefix}{name}", [f"{prefix}{known}" for known in model.model_fields], place))
        inner = _nested(model.model_fields[name].annotation)
        if inner and not isinstance(value, Mapping):
            raise Refusal(f"Setting '{prefix}{name}' in '{place}' must be a table of settings, but is {value!r}.")
        if inner:
            _check_keys(value, inner, place, f"{prefix}{name}.")


def _check_flags(model: type[Settings], arguments: Sequence[str]) -> None:
    known = names(model)
    for argument in arguments:
        if argument.startswith("--") and argument not in ("--help", "--"):
            name = _key(argument.partition("=")[0])
            if name not in known:
                raise Refusal(_unknown(name, known, "the command line"))


def _with_values(model: type[Settings], arguments: Sequence[str]) -> list[str]:
    """The arguments with `True` after each yes-or-no setting that is named alone: `--replace` is `--replace True`."""
    known, complete = takes(model), list[str]()
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        complete.append(argument)
        if known.get(_key(argument)) == 0 and following.lower() not in YES_OR_NO:
            complete.append("True")
    return complete


def _key(option: str) -> str:
    """The dotted key of `--dotted.key`; "" for a word that is no option."""
    return option[2:].replace("-", "_") if option.startswith("--") else ""


def _unknown(name: str, known: Sequence[str], place: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    near = near or [key for key in known if key.split(".")[-1] == name.rsplit(".", maxsplit=1)[-1]][:1]
    remedy = f"did you mean '{near[0]}'?" if near else "--help lists the settings there are."
    return f"Every setting must exist, but '{name}' in {place} does not: {remedy}"


def _merge(values: dict[str, Any], later: Mapping[str, Any]) -> None:
    for name, value in later.items():
        if isinstance(value, Mapping) and isinstance(values.get(name), dict):
            _merge(values[name], value)
        else:
            values[name] = value


def _construct(model: type[S], values: Mapping[str, Any], base: Settings | None = None) -> S:
    """An unvalidated model that holds the values so far, the rest from `base` or the class's own defaults.

    A required value that is still absent is left to tyro, which asks for it.
    """
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        own = tyro.MISSING if field.is_required() else field.get_default(call_default_factory=True)
        default = getattr(base, name) if base else own
        inner = _nested(field.annotation)
        if inner and (name in values or default is tyro.MISSING):
            fields[name] = _construct(inner, values.get(name, {}), default if isinstance(default, Settings) else None)
        else:
            fields[name] = _typed(field.annotation, values[name], name) if name in values else default
    return cast(S, model.model_construct(**fields))


def _typed(annotation: Any, value: Any, name: str) -> Any:
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        raise Refusal(f"Setting '{name}': {error.errors()[0]['msg']} (found {value!r}).") from None


def _nested(annotation: Any) -> type[Settings] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None
