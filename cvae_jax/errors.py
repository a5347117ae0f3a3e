"""The one exception that stands for a user's mistake, and what tells that memory ran out."""


class UserError(Exception):
    """What went wrong, where, the value found and what to do, in one message.

    The command line prints it without a traceback and exits with code 2.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, XLA or a library below says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "resource_exhausted" in text
