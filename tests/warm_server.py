"""A process that has torch and esdctl loaded, and forks for each command line or script it is sent.

Starting Python and importing torch takes seconds a command; this way it is paid once.

    python -m tests.warm_server SOCKET        serves until its stdin is closed
    CLIENT, as a file called esdctl           sends it a command line; called python, a script
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

WORD = 8  # bytes of each number that is sent

CLIENT = """#!{python} -IS
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
words = list(sys.argv)
for flag, value in {more!r}.get("".join(words[1:2]), {{}}).items():
    words += [] if flag in words else [flag, value]
request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(link, [len(request).to_bytes(8, "big")], [0, 1, 2])
link.sendall(request)
link.recv(8)  # the process
status = int.from_bytes(link.recv(8), "big", signed=True)
sys.exit(status if status >= 0 else 128 - status)
"""


def serve(address: str, run: Callable[[list[str]], None]) -> None:
    """Answer clients until stdin is closed.

    A client sends its arguments, folder and environment, and its three streams; it gets the number
    of the process that runs them, and how that ended, as ``subprocess`` tells it.

    Args:
        address: of the socket.
        run: gets the arguments, in a process of its own with the client's streams, folder and
            environment; raises SystemExit.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([server, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        link, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _keep(link, run)
        link.close()
        _bury()
    _bury()


def _bury() -> None:
    """Take leave of keepers that ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _keep(link: socket.socket, run: Callable[[list[str]], None]) -> None:
    """Run one request in a child, and tell the client how that ends."""
    head, streams, _, _ = socket.recv_fds(link, WORD, 3)
    size = int.from_bytes(head, "big")
    request = b""
    while len(request) < size:
        request += link.recv(size - len(request))
    child = os.fork()
    if child == 0:
        link.close()
        _answer(json.loads(request), streams, run)
    for stream in (*streams, 0):
        os.close(stream)
    link.sendall(child.to_bytes(WORD, "big"))
    _, status = os.waitpid(child, 0)
    link.sendall(os.waitstatus_to_exitcode(status).to_bytes(WORD, "big", signed=True))
    os._exit(0)


def _answer(
    request: Sequence[object], streams: Sequence[int], run: Callable[[list[str]], None]
) -> None:
    arguments, folder, environment = request
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(str(folder))
    os.environ.clear()
    os.environ.update(environment)
    status = 70
    try:
        run(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(arguments: list[str]) -> None:
    program, *rest = arguments
    if Path(program).name == "python":
        exec(compile(rest[1], "<page>", "exec"), {"__name__": "__main__"})
        raise SystemExit(0)
    from esdctl.cli.app import main

    sys.argv = ["esdctl", *rest]
    main()


if __name__ == "__main__":
    import diffusers  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import esdctl.erasing.erase
    import esdctl.sampling.pictures  # noqa: F401

    gc.collect()
    gc.freeze()  # what is loaded is no garbage, and stays shared
    serve(sys.argv[1], _run)
