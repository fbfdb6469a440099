"""How kernels are compiled: one decorator for all of them, and the prefetch instruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from lsr import numba_cache

from .arguments import COMPARED

_FOLDER = Path(__file__).resolve().parent
numba_cache.prepare([_FOLDER])

from llvmlite import ir  # noqa: E402  (after numba_cache: numba reads NUMBA_CACHE_DIR on import)
from numba import njit, types  # noqa: E402
from numba.core import cgutils  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

numba_cache.postpone_blas()

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

#: The files whose kernels call one another.
SOURCES = (
    "jit",
    "windows",
    "arguments",
    "tables",
    "gathering",
    "inversion",
    "topk",
    "scoring",
    "sums",
    "candidates",
    "touched",
    "accumulate",
    "shortlist",
    "blocks",
    "pruning",
    "clustering",
    "blocking",
    "best_first",
)


def kernel(function: Kernel) -> Kernel:
    """Compile a function on first call, cached on disk, without the interpreter lock.

    No fastmath: scores must come out bit for bit as numpy's float32 sums in the same order.
    """
    return _compiled(function)


def inner(function: Kernel) -> Kernel:
    """Compile a function as `kernel` does that only kernels call and that makes no arrays.

    What it is given is not counted as in use, which takes two calls for each array.
    """
    return _compiled(function, _nrt=False)


def inlined(function: Kernel) -> Kernel:
    """Compile a function as `inner` does, into each kernel that calls it.

    For what is done for each row: a call hands over seven numbers for each array.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def _compiled(function: Kernel, **options: Any) -> Kernel:
    compiler = njit(cache=True, nogil=True, boundscheck=False, error_model="numpy", **options)
    compiled = compiler(function)
    _renew_with_all_sources(compiled)
    return cast(Kernel, compiled)


def _renew_with_all_sources(compiled: Any) -> None:
    """Make the cache of one kernel stale when any of the files changes.

    numba looks at the kernel's own file only, though what a kernel calls is compiled into it.
    Where numba has other insides than expected, its own rule stays.
    """
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, _STAMP)


def _stamp() -> tuple[tuple[str, int, int], ...]:
    stamps = []
    for name in SOURCES:
        path = _FOLDER / f"{name}.py"
        if path.exists():
            found = path.stat()
            stamps.append((name, found.st_mtime_ns, found.st_size))
    return tuple(stamps)


_STAMP = _stamp()


def _prefetch(typing: Any, array: Any, at: Any) -> Any:
    """Fetch the cache line of `array[at]`, without waiting for it; `at` may be out of bounds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte_pointer = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte_pointer)
        kind = ir.FunctionType(ir.VoidType(), [byte_pointer, number, number, number])
        insert: Any = cgutils.get_or_insert_function
        function = insert(builder.module, kind, "llvm.prefetch.p0")
        # To read, into all levels of the cache, data.
        builder.call(function, [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


#: `prefetch(array, at)` fetches the cache line of `array[at]` without waiting for it.
prefetch: Any = intrinsic(_prefetch)


def _numbers_at(context: Any, builder: Any, array: Any, place: Any, ahead: int) -> Any:
    """Return `COMPARED` bytes of an array as one vector of numbers.

    place: the array's value and where in it; `ahead` numbers after that they begin.
    """
    value, at = place
    one = ir.IntType(array.dtype.bitwidth)
    data = context.make_array(array)(context, builder, value).data
    first = builder.gep(builder.gep(data, [at]), [ir.IntType(64)(ahead)])
    numbers = ir.VectorType(one, 8 * COMPARED // one.width)
    return builder.load(builder.bitcast(first, numbers.as_pointer()), align=one.width // 8)


def _bits_of(builder: Any, operator: str, numbers: Any, number: Any) -> Any:
    """Return a bit for each number of a vector: how it compares with one number of 64 bits."""
    kind, index = numbers.type, ir.IntType(32)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, builder.trunc(number, kind.element), index(0))
    zeros = ir.Constant(ir.VectorType(index, kind.count), [0] * kind.count)
    same = builder.shuffle_vector(first, nothing, zeros)
    compared = builder.icmp_unsigned(operator, numbers, same)
    return builder.zext(builder.bitcast(compared, ir.IntType(kind.count)), ir.IntType(64))


def _comparing(operator: str) -> Any:
    """Return what compares `COMPARED` bytes of numbers from `array[at]` on with one number."""

    def typed(typing: Any, array: Any, at: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            numbers = _numbers_at(context, builder, array, arguments[:2], 0)
            return _bits_of(builder, operator, numbers, arguments[2])

        return types.uint64(array, types.int64, types.int64), generate

    return intrinsic(typed)


def _reaching(typing: Any, array: Any, at: Any, number: Any) -> Any:
    """Return whether any number of four times `COMPARED` bytes is at least a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = 8 * COMPARED // array.dtype.bitwidth
        largest = _numbers_at(context, builder, array, arguments[:2], 0)
        for part in range(1, 4):
            numbers = _numbers_at(context, builder, array, arguments[:2], part * count)
            more = builder.icmp_unsigned(">", numbers, largest)
            largest = builder.select(more, numbers, largest)
        bits = _bits_of(builder, ">=", largest, arguments[2])
        return builder.icmp_unsigned("!=", bits, ir.IntType(64)(0))

    return types.boolean(array, types.int64, types.int64), generate


#: `equal_to(array, at, number)` has a bit for each entry of `COMPARED` bytes from `array[at]` on: 1
#: where it is that number; `at_least` where it is not below. `reaching` tells whether any of four
#: times as many bytes is not below. Arrays of unsigned numbers of 32 bits and less, which have to
#: be able to hold the number; all those bytes have to be there.
equal_to: Any = _comparing("==")
at_least: Any = _comparing(">=")
reaching: Any = intrinsic(_reaching)


def _first_bit(typing: Any, bits: Any) -> Any:
    """Return the number of the lowest bit that is set; `bits` uint64 is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


#: `first_bit(bits)` is the number of the lowest bit that is set.
first_bit: Any = intrinsic(_first_bit)


def _float(typing: Any, bits: Any) -> Any:
    """Return the float32 that has these bits; `bits` uint32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


#: `float_of(bits)` is the float32 that has these bits.
float_of: Any = intrinsic(_float)
