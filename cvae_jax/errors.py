"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """What went wrong, where, the value found and what to do, in one message.

    The command line prints it without a traceback and exits with code 2.
    """
