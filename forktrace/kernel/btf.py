"""Struct layout and enum values of the running kernel, from its BTF.

Uses libbpf's own BTF parser by ctypes (libbpfcc depends on libbpf, so it is there).
Parsing /sys/kernel/btf/vmlinux takes about 50 ms and 6 MB, given back by ``close``:
open it once, ask everything, and close it.
"""

from __future__ import annotations

import ctypes
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from forktrace import libbpf
from forktrace.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

VMLINUX = "/sys/kernel/btf/vmlinux"
MAGIC = (0xEB9F).to_bytes(2, sys.byteorder)
"""How it begins, include/uapi/linux/btf.h."""

# Kinds of a BTF type, include/uapi/linux/btf.h.
_INT, _POINTER, _ARRAY = 1, 2, 3
_STRUCT, _UNION, _ENUM = 4, 5, 6
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 8, 9, 10, 11
_TYPE_TAG, _ENUM64 = 18, 19
_FUNCTION = 12
_QUALIFIERS = {_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG}
_SIZE_OF_TYPE = 12  # struct btf_type; what a kind adds follows it
_MAX_ERRNO = 4095
# Of anonymous structs and unions that are looked through; Linux has some dozens.
_MOST_INNER = 500


class _Type(NamedTuple):
    """The head of one struct btf_type; ``size`` is a type's id in some kinds."""

    address: int
    kind: int
    vlen: int
    bitfields: bool
    size: int


class _Member(NamedTuple):
    """A member: its type's id, where it lies and, of a bit field, how wide; in bits."""

    target: int
    bits: int
    width: int


class Btf:
    """The BTF of one kernel, open until ``close`` (or the end of a ``with``)."""

    def __init__(self, path: str) -> None:
        """Parse the BTF at ``path`` (raw, or an ELF file with a .BTF section)."""
        self._lib = _load_library()
        # libbpf before 1.0 answers a failure with a negative errno as the pointer.
        handle = self._lib.btf__parse(path.encode(), None) or 0
        if not 0 < handle < 2**64 - _MAX_ERRNO:
            raise Unsupported(
                f"libbpf cannot read {path}",
                "Install a libbpf1 as new as this kernel.",
            )
        self._handle: int = handle
        self._path = path
        self._enumerated: list[tuple[str, int]] | None = None
        self._has_names: dict[tuple[str, str], bool] = {}

    @classmethod
    def of_running_kernel(cls) -> Btf:
        """Open this kernel's BTF; raise Unsupported naming what is missing."""
        try:
            with open(VMLINUX, "rb"):
                pass
        except FileNotFoundError:
            raise Unsupported(
                f"this kernel has no BTF ({VMLINUX} is missing)",
                "Boot a kernel built with CONFIG_DEBUG_INFO_BTF=y.",
            ) from None
        except OSError as error:
            raise Unsupported(f"cannot read {VMLINUX}: {error.strerror}") from None
        return cls(VMLINUX)

    def close(self) -> None:
        """Give libbpf's memory back; closing twice is fine."""
        if self._handle:
            self._lib.btf__free(self._handle)
            self._handle = 0

    def __enter__(self) -> Btf:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def offset(self, struct: str, member: str, size: int) -> int:
        """Return where ``member`` lies in ``struct``, in bytes.

        The member has to be a number or pointer of ``size`` bytes, or a struct that
        holds one and nothing else, as atomic_long_t and vma_flags_t do; ``a.b`` is
        ``b`` in the struct ``a``. Looks through anonymous structs and unions. Raises
        Unsupported when this kernel has no such struct or member, or the member is
        something else.
        """
        found = self._member(struct, member)
        bit_field = found.width or found.bits % 8
        real = None if bit_field else self._scalar_size(found.target)
        if real != size:
            what = f"a number of {real} bytes" if real else "no plain number"
            raise Unsupported(
                f"member {member} of struct {struct} is "
                f"{'a bit field' if bit_field else what}, not a number of {size} bytes"
            )
        return found.bits // 8

    def text_offset(self, struct: str, member: str, size: int) -> int:
        """Return where an array of ``size`` characters or more lies, in bytes.

        Raises Unsupported as ``offset`` does.
        """
        found = self._member(struct, member)
        array = self._type(found.target)
        element, _, count = self._words(array, 3) if array.kind == _ARRAY else (0, 0, 0)
        if count < size or self._scalar_size(element) != 1:
            raise Unsupported(
                f"member {member} of struct {struct} is no array of {size} characters"
            )
        return found.bits // 8

    def _member(self, struct: str, member: str) -> _Member:
        first, _, inner = member.partition(".")
        number = self._find(struct, _STRUCT)
        found = None if number is None else self._search(number, first, set())
        within = self._search(found.target, inner, set()) if found and inner else found
        if not (found and within):
            raise Unsupported(f"this kernel has no member {member} in struct {struct}")
        return within._replace(bits=found.bits + within.bits) if inner else found

    def function(self, name: str) -> int:
        """Return the id of a function, which fentry takes; raise Unsupported."""
        found = self._find(name, _FUNCTION)
        if found is None:
            raise Unsupported(
                f"{self._path} does not name the function {name}",
                "Try --attach kprobe.",
            )
        return found

    def enum_values(self, prefix: str, suffix: str = "") -> dict[str, int]:
        """Return every enumerator whose name starts and ends so, with its value.

        The names come whole and in the kernel's order. ``VMA_`` and ``_BIT`` give
        the numbers of the bits of vm_flags from Linux 6.19 on, nothing before.
        Walks all types, about 100 ms, the first time.
        """
        if not self.has_name(prefix, suffix):
            return {}
        if self._enumerated is None:
            self._enumerated = [
                pair for enum in self._enums() for pair in self._enumerators(enum)
            ]
        return {
            name: value
            for name, value in self._enumerated
            if name.startswith(prefix) and name.endswith(suffix)
        }

    def has_name(self, prefix: str, suffix: str = "") -> bool:
        """Tell fast whether any name starts and ends so: each stands there once.

        It is remembered: looking through some 6 MB takes 7 ms.
        """
        asked = prefix, suffix
        if asked not in self._has_names:
            names = rf"\0{prefix}\w*{suffix}\0".encode()
            with open(self._path, "rb") as stream:
                found = re.search(names, stream.read())
            self._has_names[asked] = found is not None
        return self._has_names[asked]

    # -- one type ------------------------------------------------------------

    def _find(self, name: str, kind: int) -> int | None:
        number = int(
            self._lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
        )
        return number if number > 0 else None

    def _type(self, number: int) -> _Type:
        address = self._lib.btf__type_by_id(self._handle, number)
        if not address:
            raise Unsupported(f"{self._path} speaks of a type that is not in it")
        _, info, size = (ctypes.c_uint32 * 3).from_address(address)
        return _Type(address, info >> 24 & 31, info & 0xFFFF, bool(info >> 31), size)

    def _name(self, name_off: int) -> str:
        text = self._lib.btf__name_by_offset(self._handle, name_off)
        return text.decode(errors="replace") if text else ""

    # -- members -------------------------------------------------------------

    def _search(self, number: int, member: str, searched: set[int]) -> _Member | None:
        """Return ``member`` of a struct or union, or None."""
        # Types may hold each other in a circle, or the same one many times.
        if number in searched or len(searched) > _MOST_INNER:
            return None
        searched.add(number)
        found = self._type(number)
        if found.kind in _QUALIFIERS:
            return self._search(found.size, member, searched)
        if found.kind not in (_STRUCT, _UNION):
            return None
        for name_off, each in self._members(found):
            if name_off == 0:
                inner = self._search(each.target, member, searched)
                if inner is not None:
                    return inner._replace(bits=each.bits + inner.bits)
            elif self._name(name_off) == member:
                return each
        return None

    def _members(self, of: _Type) -> Iterator[tuple[int, _Member]]:
        """Yield each member of a struct or union, and where its name is."""
        words = self._words(of, 3 * of.vlen)
        for i in range(0, len(words), 3):
            name_off, target, bits = words[i : i + 3]
            # A struct with bit fields keeps a field's width in the top byte.
            width = bits >> 24 if of.bitfields else 0
            yield name_off, _Member(target, bits & 0xFFFFFF if width else bits, width)

    def _scalar_size(self, number: int, depth: int = 0) -> int | None:
        """Return the bytes of a number or pointer, or of what holds only such a one."""
        found = self._type(number)
        inside = None
        if found.kind == _POINTER:
            return ctypes.sizeof(ctypes.c_void_p)
        if found.kind in (_ENUM, _ENUM64):
            return found.size
        if found.kind == _INT:
            bits = self._words(found, 1)[0] & 0xFF
            return found.size if bits == 8 * found.size else None
        if found.kind in _QUALIFIERS:
            inside = found.size
        elif found.kind == _ARRAY:
            inside, _, count = self._words(found, 3)  # struct btf_array
            inside = inside if count == 1 else None
        elif found.kind in (_STRUCT, _UNION) and found.vlen == 1:
            _, only = next(self._members(found))
            inside = None if only.width else only.target
        if inside is None or depth > _MOST_INNER:
            return None
        return self._scalar_size(inside, depth + 1)

    @staticmethod
    def _words(of: _Type, count: int) -> list[int]:
        """Return what follows the head of a type."""
        return list((ctypes.c_uint32 * count).from_address(of.address + _SIZE_OF_TYPE))

    # -- enums ---------------------------------------------------------------

    def _enums(self) -> Iterator[_Type]:
        type_by_id, handle = self._lib.btf__type_by_id, self._handle
        info_of = ctypes.c_uint32.from_address
        number = 1
        while address := type_by_id(handle, number):
            if info_of(address + 4).value >> 24 & 31 in (_ENUM, _ENUM64):
                yield self._type(number)
            number += 1

    def _enumerators(self, enum: _Type) -> Iterator[tuple[str, int]]:
        width = 3 if enum.kind == _ENUM64 else 2
        base = enum.address + _SIZE_OF_TYPE
        words = (ctypes.c_uint32 * (width * enum.vlen)).from_address(base)
        for i in range(0, width * enum.vlen, width):
            high = words[i + 2] << 32 if width == 3 else 0
            yield self._name(words[i]), words[i + 1] | high


def _load_library() -> ctypes.CDLL:
    lib = libbpf.library()
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32
    lib.btf__parse.argtypes, lib.btf__parse.restype = [text, pointer], pointer
    lib.btf__free.argtypes, lib.btf__free.restype = [pointer], None
    lib.btf__type_by_id.argtypes = [pointer, number]
    lib.btf__type_by_id.restype = pointer
    lib.btf__name_by_offset.argtypes = [pointer, number]
    lib.btf__name_by_offset.restype = text
    lib.btf__find_by_name_kind.argtypes = [pointer, text, number]
    lib.btf__find_by_name_kind.restype = ctypes.c_int32
    return lib
