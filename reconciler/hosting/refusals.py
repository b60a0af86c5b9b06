"""What a cloud says when it does not do as it was asked, in a sentence that holds no key and no signature."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from reconciler.core.errors import HostingError

if TYPE_CHECKING:
    from reconciler.hosting.places import Place

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_STATUS_OF_ANOTHER_REGION = re.compile(r"status code: (30\d|400)")
_NO_KEYS: Final = (
    *("169.254.169.254", "latest/api/token", "metadata.google", "computeMetadata"),
    *("metadata/identity", "Account must be specified", "MissingAccount", "MissingCredentials"),
    "Missing credentials",
)
_KEYS: Final = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, or AWS_ENDPOINT_URL) in the environment or in .env.",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS in the environment or in .env.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in the environment or in .env.",
}
_RIGHTS: Final = "Check its keys; they must be allowed to list, to read and to write there."
_LATER: Final = "It will be tried again."


def refusal(place: Place, error: Exception) -> HostingError:
    """Return the error to show for one of the library's; only what is known to be harmless is taken over from it."""
    text = str(error)
    code = _CODE.search(text)
    status = _STATUS.search(text)
    said = code[1] if code else f"HTTP {status[1]}" if status else ""
    told, hint = _told(place, error, text, said)
    return HostingError(f"the media store {place} {told}", hint=hint)


def _told(place: Place, error: Exception, text: str, said: str) -> tuple[str, str]:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    if any(mark in text for mark in _NO_KEYS):
        return "has no credentials", _KEYS[place.scheme]
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return f"refuses access{f' ({said})' if said else ''}", _RIGHTS
    if isinstance(error, FileNotFoundError):
        return f"is not there{f' ({said})' if said else ''}", (
            "Check the name in RECONCILER_MEDIA_STORE, and the region or endpoint; make the bucket if it is new."
        )
    if said:
        elsewhere = place.scheme == "s3" and _STATUS_OF_ANOTHER_REGION.search(text)
        return f"answers {said}", (
            "The region may be another: see AWS_REGION." if elsewhere else _LATER
        )
    if "redirect without LOCATION" in text:
        return "is in another region", "Set AWS_REGION to the bucket's."
    if "kind: Timeout" in text or "timed out" in text:
        return "does not answer", _LATER
    if "error sending request" in text or "kind: Connect" in text:
        return "cannot be reached", f"Check the network and the endpoint. {_LATER}"
    return f"cannot be used: {_first_line(text)}", _KEYS[place.scheme]


def _first_line(text: str) -> str:
    """Return how the library begins, without what follows a question mark: signatures stand there."""
    line = text.partition("\n")[0][:200]
    return re.sub(r"\?\S*", "?…", line).rstrip(".")
