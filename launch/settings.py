"""Settings: frozen pydantic models, read from TOML files (later ones win), then from `--dotted.key value`.

    python -m launch finetune finetune/configs/han.toml --training.epochs 8

A key that does not exist is refused before anything starts, with the nearest name that does.
"""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from launch.refusal import Refusal


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


def load(model: type[S], files: Sequence[Path], arguments: Sequence[str], prog: str) -> S:
    """The validated settings: defaults, then each TOML file in turn, then the `--dotted.key value` arguments.

    Raises Refusal for a file that is missing or not TOML, an unknown key (with the nearest right name), and a value
    that breaks a rule. `--help` among the arguments prints every setting and exits.
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
        prog=f"{prog} [FILE.toml …]",
        description=f"{model.__doc__} Settings come from the TOML files, later ones win, then from these options.",
    )


def names(model: type[Settings], prefix: str = "") -> list[str]:
    """Every dotted key of a settings class, in its order: `["shards", "model.width", …]`."""
    found = []
    for name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        found += names(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return found


def sentence(error: ValidationError, owner: str) -> str:
    """A pydantic error as one sentence a fault: the setting and the class it belongs to, the rule, the value found."""
    faults = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        rule = str(fault["msg"]).removeprefix("Value error, ")
        faults.append(f"Setting '{place}' of {owner}: {rule} (found {fault['input']!r})." if place else rule)
    return "\n".join(faults)


def _read_toml(file: Path, model: type[Settings]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text())
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
            name = argument[2:].split("=")[0].replace("-", "_")
            if name not in known:
                raise Refusal(_unknown(name, known, "the command line"))


def _with_values(model: type[Settings], arguments: Sequence[str]) -> list[str]:
    """The arguments with `True` after each yes-or-no setting that is named alone: `--replace` is `--replace True`."""
    switches, complete = _switches(model), list[str]()
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        complete.append(argument)
        if argument.removeprefix("--").replace("-", "_") in switches and following.startswith("--"):
            complete.append("True")
    return complete


def _switches(model: type[Settings]) -> set[str]:
    """Those of the dotted keys that are a yes or a no."""
    found = set()
    for name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        found |= (
            {f"{name}.{key}" for key in _switches(inner)} if inner else {name} if field.annotation is bool else set()
        )
    return found


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
