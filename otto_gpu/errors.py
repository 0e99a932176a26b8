"""What a user can get wrong ends in one of these: one clear line, exit code 2, no traceback."""


class UserError(Exception):
    """Says what is wrong (file, row or key), what was expected and what to do, in one line."""


class MissingExtra(UserError):
    """A package that is optional is needed now."""

    def __init__(self, what: str, package: str, extra: str):
        super().__init__(f"{what} needs {package}, which is not installed: pip install 'otto_gpu[{extra}]'")
