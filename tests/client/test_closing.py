"""A client that is closed while calls are under way: they are Cancelled, whatever the library beneath says."""

import asyncio
import threading
import time

import pytest

from swinserve import AsyncClient, Cancelled, Client, SwinserveError

from .conftest import Service


def begun(service: Service) -> None:
    while not service.seen:
        time.sleep(0.01)


def test_a_call_under_way_in_another_thread_is_cancelled_and_not_made_again(service: Service) -> None:
    found: list[BaseException] = []
    client = Client(service.url, timeout=20, retries=5)

    def ask() -> None:
        try:
            client.classify(b"a", model="hang", request_id="mine")
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    begun(service)
    client.close()
    thread.join(30)
    (error,) = found
    assert isinstance(error, Cancelled)
    assert (error.reason, error.request_id) == ("CANCELLED", "mine")
    assert len(service.seen) == 1


async def test_an_awaited_call_under_way_is_cancelled_and_not_made_again(service: Service) -> None:
    client = AsyncClient(service.url, timeout=20.0, retries=5)
    asking = asyncio.create_task(client.classify(b"a", model="hang", request_id="mine"))
    await asyncio.to_thread(begun, service)
    await client.close()
    with pytest.raises(SwinserveError) as caught:
        await asyncio.wait_for(asking, 30)
    assert isinstance(caught.value, Cancelled)
    assert caught.value.request_id == "mine"
    assert len(service.seen) == 1
