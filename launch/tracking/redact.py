"""What may be secret in an address is left out of all that is printed, logged and tagged.

A password in a URI is still seen by whoever lists this machine's processes: MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD, or the `.netrc` file, keep it out of commands and settings altogether.
"""

import re

MARK = "***"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_USER = re.compile(rf"({_SCHEME})(?:(?!://)\S)*@")
"""To the last `@` of the word, since a password may hold one that was not escaped, or a slash."""
_QUERY = re.compile(rf"({_SCHEME}[^\s?#]*)(?:(\?)[^\s'\"`)\]}}>]+|(#)[^\s'\"`)\]}}>]*=[^\s'\"`)\]}}>]*)")
"""All of a query; of a fragment only one that holds a value, as the place in a page does not."""


def redacted(text: str) -> str:
    """A text in which every address lacks what may be secret: all before its `@`, and its query.

    >>> redacted("Read 'https://name:word@host/set?sig=abc' and sqlite:///runs/mlflow.db.")
    "Read 'https://***@host/set?***' and sqlite:///runs/mlflow.db."
    """
    return _QUERY.sub(rf"\1\2\3{MARK}", _USER.sub(rf"\1{MARK}@", text))


def redacted_address(address: str) -> str:
    """One whole address likewise, also a malformed one that holds spaces; a fragment is left out, too.

    >>> redacted_address("https://name:a word@host/set?sig=abc#part")
    'https://***@host/set?***'
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    before, at, rest = rest.rpartition("@")
    rest = re.sub(r"([?#]).*", rf"\1{MARK}", rest, flags=re.DOTALL)
    return f"{scheme}://{MARK + '@' if before or at else ''}{rest}"
