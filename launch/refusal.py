"""The one error a user is meant to read."""


class Refusal(Exception):
    """An input or a setting breaks a rule.

    The message is one sentence that names the rule, the value found, the place and the remedy. `python -m launch`
    prints it without a traceback and exits with 2.
    """
