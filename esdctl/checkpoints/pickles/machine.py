"""Runs a pickle's opcodes on plain values alone: it imports nothing and calls nothing.

The standard library's ``pickletools`` splits the bytes into opcodes and their arguments; the table
below says what each does. A global stays a ``GlobalName``. A call is handed to ``calls``, which
knows torch's few ways to describe a tensor and makes an inert stub of everything else.

Costs are capped: the bytes by who opens the pickle, then opcodes, depth, the size of integers and
the memo's numbers. Values are shared, never copied, so that a memo bomb takes no memory.
"""

import pickletools
from collections.abc import Callable
from io import BytesIO
from pickle import HIGHEST_PROTOCOL
from typing import Any, Protocol

from esdctl.checkpoints.pickles.names import GlobalName, is_executor, present_name
from esdctl.checkpoints.pickles.values import Inert, Items, PickleFault, Row, Table
from esdctl.untrusted_text import shown

MAX_OPCODES = 4_000_000  # SDXL with optimiser states has about 200,000
MAX_INTEGER = 16  # bytes; torch's magic number has 10
_MARK = object()


class Calls(Protocol):
    """What the opcodes that call something are handed to."""

    def mention(self, name: GlobalName) -> None:
        """Take note of a name in the pickle."""
        ...

    def call(self, function: GlobalName, arguments: Row) -> object:
        """The value of ``function(*arguments)``, without calling it."""
        ...

    def persistent(self, identity: object) -> object:
        """The value of a persistent id: a storage."""
        ...


def run_pickle(stream: BytesIO, calls: Calls) -> Any:
    """Run one pickle; the stream then stands behind its STOP.

    Args:
        stream: the bytes, with whatever follows.
        calls: gives the values of calls and of persistent ids.

    Returns:
        The value: None, bool, int, float, str, bytes, Table, Items, Row, Inert, GlobalName, or what
        ``calls`` made.

    Raises:
        PickleFault: the pickle is damaged, a bomb, or would run code.
    """
    machine = _Machine(calls)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise PickleFault(f"its pickle has more than {MAX_OPCODES} opcodes")
            machine.step(opcode.name, argument)
    except IndexError:
        raise PickleFault("its pickle takes values from an empty stack") from None
    except UnicodeError:
        raise PickleFault("its pickle holds a text that is not UTF-8") from None
    except (ValueError, OverflowError, AssertionError, TypeError) as error:
        first_line = shown(str(error).partition("\n")[0])
        raise PickleFault(f"its pickle is cut off or damaged ({first_line})") from None
    return machine.result()


class _Machine:
    """The stack, the memo and one method a kind of opcode."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1 or self._stack[0] is _MARK:
            raise PickleFault("its pickle ends with values left on the stack")
        return self._stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHES:
            if type(argument) is int and argument.bit_length() > 8 * MAX_INTEGER:
                raise PickleFault(f"its pickle holds an integer of over {MAX_INTEGER} bytes")
            self._stack.append(argument)
            return
        action = _ACTIONS.get(opcode)
        if action is None:
            raise PickleFault(f"its pickle uses the opcode {opcode}, which no checkpoint needs")
        action(self, argument)

    def protocol(self, version: int) -> None:
        if version > HIGHEST_PROTOCOL:
            raise PickleFault(f"its pickle is of protocol {version}, which does not exist")

    def push(self, value: object) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise PickleFault("its pickle takes a mark for a value")
        return value

    def pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise PickleFault("its pickle takes a mark for a value")
        return value

    def pop_or_mark(self, _: Any) -> None:
        self._stack.pop()

    def drop_to_mark(self, _: Any) -> None:
        self.pop_to_mark()

    def inert_set(self, _: Any) -> None:
        self.pop_to_mark()
        self.push(Inert(None))

    def duplicate(self, _: Any) -> None:
        self.push(self.top())

    def put(self, index: int) -> None:
        if not 0 <= index < MAX_OPCODES:
            raise PickleFault(f"its pickle numbers a value {index}, which is a memo bomb")
        self._memo[index] = self.top()

    def memoize(self, _: Any) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise PickleFault("its pickle takes a value that it never numbered")
        self.push(self._memo[index])

    def row(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(Row.of(values[::-1]))

    def table_of_pairs(self, _: Any) -> None:
        table = Table()
        _fill(table, self.pop_to_mark())
        self.push(table)

    def items_of_values(self, _: Any) -> None:
        items = Items()
        for value in self.pop_to_mark():
            items.put(value)
        self.push(items)

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Items):
            for value in values:
                target.put(value)
        elif not isinstance(target, Inert):
            raise PickleFault("its pickle appends to a value that is no list")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Table):
            _fill(target, values)
        elif not isinstance(target, Inert):
            raise PickleFault("its pickle sets items of a value that is no table")

    def name(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise PickleFault("its pickle names a global by something else than a text")
        mentioned = present_name(module, name)
        if not mentioned.path.replace(".", "").isidentifier():
            raise PickleFault(f"its pickle names {shown(mentioned.path)}, which names nothing")
        if is_executor(mentioned):
            fault = f"its pickle names {shown(mentioned.path)}, which would run code on loading"
            raise PickleFault(fault)
        self._calls.mention(mentioned)
        self.push(mentioned)

    def name_from_text(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.name(module, name)

    def name_from_stack(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def call(self, function: object, arguments: object) -> None:
        if not isinstance(function, GlobalName):
            raise PickleFault("its pickle calls a value that it made itself")
        if not isinstance(arguments, Row):
            raise PickleFault(f"its pickle calls {function} without a tuple of arguments")
        self.push(self._calls.call(function, arguments))

    def reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        self.call(function, arguments)

    def reduce_with_keywords(self, _: Any) -> None:
        self.pop()
        self.reduce(_)

    def instance_from_text(self, argument: str) -> None:
        arguments = Row.of(self.pop_to_mark())
        self.name_from_text(argument)
        self.call(self.pop(), arguments)

    def instance_from_stack(self, _: Any) -> None:
        function, *arguments = self.pop_to_mark()
        self.call(function, Row.of(arguments))

    def build(self, _: Any) -> None:
        """State is dropped: weights have none, and stubs hold nothing."""
        self.pop()
        if isinstance(self.top(), GlobalName):
            raise PickleFault(f"its pickle changes {self.top()}, a class and not an object")

    def persistent(self, identity: object) -> None:
        self.push(self._calls.persistent(identity))


def _fill(table: Table, values: list[Any]) -> None:
    if len(values) % 2:
        raise PickleFault("its pickle sets a key without a value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        table.put(key, value)


# Opcodes whose argument is the value.
_PUSHES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "FLOAT", "BINFLOAT",
}  # fmt: skip

_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.protocol,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.push(_MARK),
    "POP": _Machine.pop_or_mark,
    "POP_MARK": _Machine.drop_to_mark,
    "DUP": _Machine.duplicate,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_TUPLE": lambda machine, _: machine.row(0),
    "TUPLE1": lambda machine, _: machine.row(1),
    "TUPLE2": lambda machine, _: machine.row(2),
    "TUPLE3": lambda machine, _: machine.row(3),
    "TUPLE": lambda machine, _: machine.push(Row.of(machine.pop_to_mark())),
    "EMPTY_DICT": lambda machine, _: machine.push(Table()),
    "DICT": _Machine.table_of_pairs,
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "EMPTY_LIST": lambda machine, _: machine.push(Items()),
    "LIST": _Machine.items_of_values,
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "EMPTY_SET": lambda machine, _: machine.push(Inert(None)),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "FROZENSET": _Machine.inert_set,
    "GLOBAL": _Machine.name_from_text,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.reduce_with_keywords,
    "INST": _Machine.instance_from_text,
    "OBJ": _Machine.instance_from_stack,
    "BUILD": _Machine.build,
    "PERSID": lambda machine, identity: machine.persistent(identity),
    "BINPERSID": lambda machine, _: machine.persistent(machine.pop()),
}
