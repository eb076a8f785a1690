"""Settings -> who is let in: tokens and certificates, both loaded again when their files change."""

from __future__ import annotations

import asyncio

from swin_gateway.access import Access
from swin_gateway.settings import ServeSettings
from swin_gateway.tls import Tls

RELOAD_SECONDS = 1.0  # between two looks


class Guards:
    def __init__(self, settings: ServeSettings) -> None:
        """Raises StartError when a file cannot be used."""
        text = None if settings.tokens is None else settings.tokens.get_secret_value()
        self.access = Access(text=text, file=settings.token_file)
        self.tls: Tls | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self.tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        self.mutual = settings.tls_client_ca is not None

    async def watch(self) -> None:
        """Runs until cancelled."""
        files = [*self.access.files, *([self.tls.files] if self.tls else [])]
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            for each in files:
                each.look()
