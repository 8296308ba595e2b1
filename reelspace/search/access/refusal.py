"""Why a request is refused: the field, what was expected there, and the HTTP status."""

from typing import Any

from reelspace.core.errors import UserError


class RequestRefused(UserError):
    """A request that breaks the dialect, or may not be asked; the message begins with the field.

    `status` is the HTTP status; `retry_after_s` says when to try again, where the status is one that allows it.
    """

    def __init__(self, field: str, message: str, status: int = 400, retry_after_s: int = 1) -> None:
        super().__init__(f"{field}: {message}")
        self.status = status
        self.retry_after_s = retry_after_s


def not_served(where: str, feature: str = "") -> RequestRefused:
    """Refuse a feature of the dialect that is not served, by its name or by the field it is asked for in."""
    return RequestRefused(where, f"{feature or where} is not served here", status=501)


def kind_of(value: Any) -> str:
    """Name the kind of a JSON value."""
    names: dict[type, str] = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
