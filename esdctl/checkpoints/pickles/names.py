"""The names in a pickle, and those whose only use there is to run something.

No name is ever imported or called, so the list of executors is not what protects: it is a tripwire.
A file that names ``os.system`` is refused aloud rather than read with the call left out, since
whoever wrote it meant harm. Every other class and function is left aside as an inert stub.
"""

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass

from esdctl.untrusted_text import shown


@dataclass(frozen=True)
class GlobalName:
    """A name in a pickle, as text; what it stands for is never looked up."""

    module: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"

    def __str__(self) -> str:
        """For messages: escaped, so that no terminal obeys it, and cut."""
        return shown(self.path)[1:-1]


# Modules all of whose functions reach a shell, a process, the network, the disk or an interpreter.
# From published attacks on pickle scanners, and from the standard library's own list of contents.
_EXECUTOR_MODULES = {
    # processes, shells, the network and the disk
    "_posixsubprocess", "_socket", "_winapi", "asyncio", "commands", "ctypes", "_ctypes",
    "concurrent", "fileinput", "ftplib", "http.client", "http.server", "imaplib", "msvcrt",
    "multiprocessing", "nntplib", "nt", "os", "platform", "popen2", "poplib", "posix", "pty",
    "shutil", "smtplib", "socket", "socketserver", "sqlite3", "subprocess", "telnetlib", "tempfile",
    "_thread", "threading", "urllib.request", "urllib2", "webbrowser", "winreg", "xmlrpc",
    # interpreters, importers, and what reads pickles
    "_aix_support", "_osx_support", "_pickle", "_pyrepl", "bdb", "cProfile", "code",
    "codeop", "dbm", "distutils", "doctest", "ensurepip", "gc", "idlelib", "imp",
    "importlib", "lib2to3", "marshal", "modulefinder", "pdb", "pickle",
    "pickletools", "pkgutil", "profile", "pydoc", "runpy", "shelve", "site", "sys", "test",
    "timeit", "tkinter", "trace", "turtle", "unittest", "venv", "zipapp", "zipimport",
    # other packages
    "IPython", "_pytest", "aiohttp", "ansible", "cffi", "cloudpickle", "dill", "django", "execnet",
    "fabric", "flask", "gevent", "google.colab", "httpx", "invoke", "jinja2", "joblib",
    "jsonpickle", "mako", "nose", "paramiko", "pip", "pkg_resources", "plumbum", "py", "pydash",
    "pytest", "requests", "setuptools", "sh", "tornado", "twisted", "urllib3", "werkzeug", "zmq",
    "numpy.testing", "numpy.f2py", "numpy.distutils", "numpy.ctypeslib", "torch.fx", "torch.hub",
    "torch.jit", "torch.package", "torch.utils.cpp_extension", "torch.utils.bottleneck",
    "torch._dynamo", "torch._inductor", "torch.distributed.run", "torch.distributed.launch",
    "torch.distributed.rpc", "torch.multiprocessing", "torch.utils.collect_env",
}  # fmt: skip

_EXECUTORS = {
    "_io": {"FileIO", "open", "open_code"},
    "_operator": {"attrgetter", "call", "methodcaller"},
    "bsddb": {"btopen"},
    "builtins": {
        "__build_class__", "__import__", "apply", "breakpoint", "compile", "delattr", "eval",
        "exec", "execfile", "file", "getattr", "globals", "input", "locals", "open", "setattr",
        "vars",
    },
    "io": {"FileIO", "open", "open_code"},
    "logging.config": {"dictConfig", "fileConfig", "listen"},
    "numpy": {"DataSource", "fromfile", "load", "loadtxt", "memmap", "save", "savez"},
    "operator": {"attrgetter", "call", "methodcaller"},
    "pandas": {"eval", "read_pickle"},
    "pathlib": {"os", "io"},
    "torch": {"compile", "load", "save", "classes", "ops"},
    "torch.serialization": {"load", "save", "_load", "_legacy_load"},
    "torch.storage": {"_load_from_bytes"},
    "types": {"CodeType", "FunctionType", "LambdaType", "MethodType"},
    "uuid": {"_get_command_stdout", "_popen"},
    "yaml": {"load", "unsafe_load", "load_all", "unsafe_load_all"},
    "sympy": {"sympify", "lambdify", "parse_expr"},
}  # fmt: skip

# What torch and numpy write beside any tensor: not worth a notice.
_EVERYDAY = {"torch", "numpy", "builtins", "collections", "copyreg", "_codecs"}


def present_name(module: str, name: str) -> GlobalName:
    """A name in Python 3's spelling, as pickle translates Python 2's (``__builtin__``)."""
    module, name = NAME_MAPPING.get((module, name), (module, name))
    return GlobalName(IMPORT_MAPPING.get(module, module), name)


def is_executor(mentioned: GlobalName) -> bool:
    """Whether the name's only use in a pickle is to run something."""
    *outer, last = mentioned.name.split(".")
    if outer and not last[:1].isupper():
        return True  # a function reached through a class or a module, by which scanners are passed
    if not all(part[:1].isupper() for part in outer):
        return True
    parts = mentioned.module.split(".")
    above = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return bool(above & _EXECUTOR_MODULES) or last in _EXECUTORS.get(mentioned.module, ())


def is_everyday(mentioned: GlobalName) -> bool:
    """Whether the name is one of torch, numpy and Python's own containers."""
    return mentioned.module.partition(".")[0] in _EVERYDAY
