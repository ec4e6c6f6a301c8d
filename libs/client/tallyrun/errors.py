"""What can go wrong, as the gateway said it."""


class TallyrunError(Exception):
    """The gateway refused: `code` is stable, `status` the HTTP status, `retry_after` in seconds where it named one."""

    def __init__(self, message: str, *, code: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.retry_after = retry_after


class Unreachable(TallyrunError):
    """There was no answer. Whether the request was carried out is not known; every call here may be repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unreachable", status=0)
