"""The names that a pickle may mention, and those that no checkpoint has a reason to mention.

No name is ever imported or called, so this list is not what protects: it is a tripwire. A file that
names ``os.system`` is refused aloud rather than read with the call left out, since whoever wrote it
meant harm. Classes of training frameworks and of unknown packages are kept as inert stubs.
"""

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass


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
        return ascii(self.path[:100])[1:-1]


# From the standard library: containers, numbers, times and paths, as hyper-parameters have them.
_HARMLESS = {
    "argparse": {"Namespace"},
    "array": {"array", "_array_reconstructor"},
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
        "object", "range", "set", "slice", "str", "tuple",
    },
    "_codecs": {"encode"},  # how bytes are written under protocols 0 to 2
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"_reconstructor", "__newobj__"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath", "PureWindowsPath"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
}  # fmt: skip

_NUMPY = {
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.numeric": {"_frombuffer"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random": {"RandomState", "Generator"},
}
_NUMPY_PREFIXES = ("numpy.dtypes.", "numpy.random._pickle.", "numpy.random._mt19937.")
_NUMPY_SCALARS = ("bool", "int", "uint", "float", "complex", "str_", "bytes_", "longlong")

# Below torch: types, the functions that rebuild tensors, and classes of modules and optimisers.
_TORCH_PREFIXES = (
    "torch._tensor.", "torch._utils._rebuild_", "torch.distributions.", "torch.nn.",
    "torch.optim.", "torch.utils.data.", "torch.version.", "torch.torch_version.",
    "torch.cuda.amp.", "torch.amp.",
)  # fmt: skip
_TORCH = {
    "torch.Generator", "torch.Size", "torch.Tensor", "torch.device", "torch.layout",
    "torch.dtype", "torch.memory_format", "torch.serialization._get_layout",
    "torch.tensor.Tensor", "torch._C._TensorBase", "torch.autograd.variable.Variable",
    "torch.storage.TypedStorage", "torch.storage.UntypedStorage", "torch.storage._TypedStorage",
    "torch.storage._UntypedStorage", "torch.contiguous_format", "torch.preserve_format",
}  # fmt: skip
_TORCH_DTYPES = ("float", "bfloat", "half", "double", "int", "uint", "long", "short", "bool",
                 "complex", "qint", "quint", "bits")  # fmt: skip

# Other packages known to run what they are given, from published attacks on pickle scanners.
_GADGETS = {
    "IPython", "_pytest", "aiohttp", "ansible", "cffi", "cloudpickle", "commands", "dill",
    "distutils", "django", "execnet", "fabric", "flask", "google.colab", "gevent", "httpx",
    "idlelib", "invoke", "jinja2", "joblib", "jsonpickle", "lib2to3", "mako", "nose", "numba",
    "paramiko", "pip", "pkg_resources", "plumbum", "pty", "py", "pydash", "pytest", "ray",
    "requests", "scipy", "setuptools", "sh", "sympy", "test", "tornado", "twisted", "urllib3",
    "werkzeug", "yaml", "zmq",
}  # fmt: skip


def present_name(module: str, name: str) -> GlobalName:
    """A name in Python 3's spelling, as pickle translates Python 2's (``__builtin__``)."""
    module, name = NAME_MAPPING.get((module, name), (module, name))
    return GlobalName(IMPORT_MAPPING.get(module, module), name)


def is_harmful(mentioned: GlobalName) -> bool:
    """Whether no checkpoint has a reason to mention this name."""
    module, name = mentioned.module, mentioned.name
    top = module.partition(".")[0]
    if not all(part[:1].isupper() for part in name.split(".")[:-1]):
        return True  # a function reached through a module, by which scanners are passed
    if top == "torch":
        return not _is_of_torch(mentioned.path)
    if top == "numpy":
        return not _is_of_numpy(module, name)
    if module in _HARMLESS:
        return name not in _HARMLESS[module]
    return top in sys.stdlib_module_names or top in _GADGETS or module in _GADGETS


def _is_of_torch(path: str) -> bool:
    last = path.rpartition(".")[2]
    if path in _TORCH or (path.count(".") <= 2 and last.endswith(("Storage", "Tensor"))):
        return True
    if path == f"torch.{last}" and last.startswith(_TORCH_DTYPES):
        return True
    return path.startswith(_TORCH_PREFIXES)


def _is_of_numpy(module: str, name: str) -> bool:
    if name in _NUMPY.get(module, ()) or f"{module}.{name}".startswith(_NUMPY_PREFIXES):
        return True
    return module == "numpy" and name.startswith(_NUMPY_SCALARS)
