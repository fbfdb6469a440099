"""The errors a user can meet, each with what to do about it."""

from __future__ import annotations


class LsrError(Exception):
    """Anything that went wrong in a way the user can act on.

    `message` says what was found, where, and what was expected; `hint` is the command or the
    step that mends it. `exit_code` is what the command line returns, `status` and `title` what
    an HTTP answer carries.

    >>> str(LsrError("the shop is closed", hint="come back at nine"))
    'the shop is closed'
    """

    exit_code: int = 1
    status: int = 500
    title: str = "Failed"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DataError(LsrError):
    """The input (a document, a vector, a line of a file) is not what was promised."""

    exit_code, status, title = 4, 422, "Bad data"


class IndexFormatError(LsrError):
    """The files are not an index this version can read, or they are damaged."""

    exit_code, status, title = 4, 409, "Unreadable index"


class ModelError(LsrError):
    """The model folder is missing, incomplete or of a kind we do not load."""

    exit_code, status, title = 4, 422, "Unusable model"


class ConfigError(LsrError):
    """A setting or an argument has a value that cannot be used."""

    exit_code, status, title = 2, 400, "Bad setting"


class FilterError(ConfigError):
    """A filter does not parse, or names a field or a type that the index does not have."""

    title = "Bad filter"


class OfflineError(LsrError):
    """Something would have to be downloaded, and downloads are off."""

    exit_code, status, title = 1, 503, "Offline"


class LockedError(LsrError):
    """Another process is writing to this index."""

    exit_code, status, title = 1, 423, "Index is being written"


class StorageError(LsrError):
    """The file system refused: full disk, no permission, file too large."""

    exit_code, status, title = 1, 507, "Storage failed"
