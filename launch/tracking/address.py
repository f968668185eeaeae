"""Addresses of stores: which MLflow takes, and which are refused before anything starts."""

import difflib
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from launch.refusal import Refusal
from launch.tracking.redact import MARK, redacted_address

SERVERS, DATABASES, HOSTED = ("http", "https"), ("sqlite", "postgresql", "mysql", "mssql"), ("databricks",)
SECRET = ("password", "passwd", "pwd", "token", "secret")
"""Parts of an address's query that are nobody's to read."""


def check(uri: str, root: Path) -> None:
    """Raises Refusal for an address that MLflow does not take, that is a folder, or that holds a password.

    `root`: the run root, into which runs of a folder can be moved.
    """
    shown = _shown(uri)
    scheme = urlsplit(uri).scheme.split("+")[0].lower()
    if scheme in ("", "file"):
        raise Refusal(_folder(uri, shown, root))
    plugins = {each.name for each in entry_points(group="mlflow.tracking_store")}
    known = [*SERVERS, *DATABASES, *HOSTED, *sorted(plugins - {"file-plugin"})]
    if scheme not in known:
        near = difflib.get_close_matches(scheme, known, n=1, cutoff=0.5)
        meant = f"did you mean '{near[0]}'?" if near else "leave it empty for a store under tracking.root."
        raise Refusal(
            f"tracking.uri must begin with a scheme that MLflow takes ({', '.join(known)}), but '{shown}' begins "
            f"with '{scheme}': {meant}"
        )
    if _holds_secret(uri):
        raise Refusal(
            f"tracking.uri must hold no password, since it is written into logs and runs, but '{shown}' does: "
            + _remedy(scheme)
        )
    if scheme in SERVERS and not urlsplit(uri).hostname:
        raise Refusal(f"tracking.uri must name a server, but '{shown}' does not: write http://HOST:PORT.")
    if scheme == "sqlite" and (not uri.startswith("sqlite:///") or uri in ("sqlite:///", "sqlite:///:memory:")):
        raise Refusal(
            f"tracking.uri must name the file of a sqlite store, but '{shown}' does not: write "
            "sqlite:///PATH/mlflow.db (four slashes for an absolute path), or leave it empty."
        )


def absolute(uri: str) -> str:
    """The same store from whatever folder it is opened: a sqlite file's path is made absolute."""
    path = uri.removeprefix("sqlite:///")
    return uri if path == uri else f"sqlite:///{Path(path).absolute()}"


def _holds_secret(uri: str) -> bool:
    parts = urlsplit(uri)
    user, at, _ = parts.netloc.rpartition("@")
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name.lower() in SECRET]
    return bool(named) or (bool(at) and (parts.scheme in SERVERS or ":" in user))


def _remedy(scheme: str) -> str:
    if scheme in SERVERS:
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, instead."
    return "let the driver read it (~/.pgpass or PGPASSWORD, ~/.my.cnf), or run `mlflow server` before the database."


def _shown(uri: str) -> str:
    """An address as it may be printed, also one that lacks its slashes, or its scheme before them."""
    scheme, mark, rest = uri.partition("//" if uri.startswith("//") else ":")
    if "://" in uri or not mark or "@" not in rest:
        return redacted_address(uri)
    return f"{scheme}{mark}{MARK}@{rest.rpartition('@')[2]}"


def _folder(uri: str, shown: str, root: Path) -> str:
    source = Path(unquote(urlsplit(uri).path) if uri.lower().startswith("file:") else uri)
    target = f"sqlite:///{root.absolute() / 'migrated.db'}"
    move = f"mlflow migrate-filestore --source {shlex.quote(str(source))} --target {shlex.quote(target)}"
    make = f"mkdir -p {shlex.quote(str(root))}"
    keep = f"; to keep the folder's runs, `{make} && {move}`, and give --tracking.uri {target}" if shown == uri else ""
    return (
        f"tracking.uri must be a server or a database, since MLflow writes no folders any more, but '{shown}' is a "
        f"folder: leave it empty for a store under tracking.root{keep}."
    )
