"""asyncio's transport of a TLS connection -> the same, that can be asked what the client has not yet taken.

asyncio's own knows no more of what it has handed to the transport beneath it, and forgets itself when closed twice.
"""

from __future__ import annotations

import asyncio
from typing import Any


class TlsTransport(asyncio.Transport):
    """What an HTTP connection needs of one."""

    def __init__(self, secure: asyncio.Transport, beneath: asyncio.Transport) -> None:
        super().__init__()
        self._secure = secure
        self._beneath = beneath

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._secure.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._secure.get_write_buffer_size() + self._beneath.get_write_buffer_size()

    def write(self, data: Any) -> None:
        self._secure.write(data)

    def pause_reading(self) -> None:
        self._secure.pause_reading()

    def resume_reading(self) -> None:
        self._secure.resume_reading()

    def is_closing(self) -> bool:
        return self._secure.is_closing() or self._beneath.is_closing()

    def close(self) -> None:
        if not self.is_closing():
            self._secure.close()

    def abort(self) -> None:
        self._beneath.abort()
