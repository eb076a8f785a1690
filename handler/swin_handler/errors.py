"""Why one image has no answer: the kinds of swin_proto's worker Error, with the HTTP status of the raw path.

These are values, collected per image beside its neighbours' answers; the decode step raises them, nothing lets them
cross the batch.
"""

from __future__ import annotations

from typing import ClassVar


class ImageError(Exception):
    """One image's failure.

    ImageError
     ├─ BadJob            400  the request cannot be read, or asks for something out of range
     ├─ TooLarge          413  more pixels than the handler decodes
     ├─ UnsupportedType   415  not one of the image types
     ├─ Undecodable       422  truncated or corrupt
     ├─ InternalFailure   500  a bug
     ├─ Unreadable        500  the gateway's memory cannot be read from here
     ├─ OutOfMemory       503  the device had no memory for it
     └─ Expired           504  its reader had gone before the work began
    """

    kind: ClassVar[str]
    """Name of the value in swinserve.worker.v1.Error.Kind."""
    http: ClassVar[int]
    phrase: ClassVar[str]
    """HTTP reason phrase; a fixed ASCII text, since TorchServe dies of anything else here."""

    @property
    def message(self) -> str:
        return str(self)


class BadJob(ImageError):
    kind, http, phrase = "BAD_JOB", 400, "Bad Request"


class TooLarge(ImageError):
    kind, http, phrase = "TOO_LARGE", 413, "Payload Too Large"


class UnsupportedType(ImageError):
    kind, http, phrase = "UNSUPPORTED_TYPE", 415, "Unsupported Media Type"


class Undecodable(ImageError):
    kind, http, phrase = "UNDECODABLE", 422, "Unprocessable Entity"


class InternalFailure(ImageError):
    kind, http, phrase = "INTERNAL", 500, "Internal Server Error"


class Unreadable(ImageError):
    kind, http, phrase = "UNREADABLE", 500, "Internal Server Error"


class OutOfMemory(ImageError):
    kind, http, phrase = "OUT_OF_MEMORY", 503, "Service Unavailable"


class Expired(ImageError):
    kind, http, phrase = "EXPIRED", 504, "Gateway Timeout"


class BadArchive(Exception):
    """The unpacked archive cannot be served; the message is one line for the operator."""
