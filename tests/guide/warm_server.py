"""A process that has torch and esdctl loaded, and forks for each command line or script it is sent.

Starting Python and importing torch takes seconds a command; this way it is paid once.

    python warm_server.py SOCKET        serves until it is ended
    CLIENT, as a file called esdctl     sends it a command line; called python, a script
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CLIENT = """#!{python} -IS
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
request = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(link, [len(request).to_bytes(8, "big")], [0, 1, 2])
link.sendall(request)
sys.exit(int(link.recv(8) or b"70"))
"""


def serve(address: str, run: Callable[[list[str]], None]) -> None:
    """Answer clients until this process is ended.

    Args:
        address: of the socket.
        run: gets the arguments, in a process of its own with the client's streams, folder and
            environment; raises SystemExit.
    """
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen()
    print("ready", flush=True)
    while True:
        link, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _answer(link, run)
        link.close()


def _answer(link: socket.socket, run: Callable[[list[str]], None]) -> None:
    head, streams, _, _ = socket.recv_fds(link, 8, 3)
    size = int.from_bytes(head, "big")
    request = b""
    while len(request) < size:
        request += link.recv(size - len(request))
    arguments, folder, environment = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
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
    link.sendall(str(status).encode())
    os._exit(0)


# What would take minutes is shortened; each flag only where the page gives none.
_SHORT = {
    "sample": {"--steps": "1"},
    "evaluate": {"--steps": "1", "--styles": "Mosaic,Rust", "--objects": "Dogs,Cats"},
}


def _run(arguments: list[str]) -> None:
    program, *rest = arguments
    if Path(program).name == "python":
        exec(compile(rest[1], "<page>", "exec"), {"__name__": "__main__"})
        raise SystemExit(0)
    from esdctl.cli.app import main

    for flag, value in _SHORT.get(rest[0] if rest else "", {}).items():
        if flag not in rest:
            rest += [flag, value]
    sys.argv = ["esdctl", *rest]
    main()


if __name__ == "__main__":
    import diffusers  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    serve(sys.argv[1], _run)
