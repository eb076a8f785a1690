"""Places on loopback that take a caller's time: one that drops packets, one whose answer drips."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def dropping() -> Iterator[str]:
    """host:port that does not answer: Linux drops what comes to a listener whose queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def dripping(seconds: float) -> Iterator[str]:
    """host:port of an HTTP answer that comes a byte at a time, so often; it takes a hundred of them."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            while not ended.is_set():
                caller, _ = listener.accept()
                with caller:
                    _pour(caller)

        def _pour(caller: socket.socket) -> None:
            try:
                caller.recv(65536)
                caller.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
                for _ in range(100):
                    if ended.wait(seconds):
                        break
                    caller.sendall(b" ")
            except OSError:
                pass  # the caller has had enough, which is what the tests are about

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()  # it may wait for a caller
            thread.join()
