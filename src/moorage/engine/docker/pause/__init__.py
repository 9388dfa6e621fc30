"""The pause image, made from nothing: no registry, no build, no compiler on the user's machine.

One file, `/pause`, of a few hundred bytes: an ELF header around machine code that waits for a signal. It is the first
process of every task's sandbox; when it ends, the sandbox's network namespace goes with it.
"""

from __future__ import annotations

import io
import struct
import tarfile

from moorage.engine.docker.pause.code import AARCH64, X86_64

# Part of the image's tag: a changed program gets a new one, and running sandboxes keep theirs.
VERSION = "1"
REPOSITORY = "moorage/pause"
IMAGE = f"{REPOSITORY}:{VERSION}"

_EM_X86_64, _EM_AARCH64 = 62, 183
# Docker's names of architectures ("Arch" of /version is Go's, "Architecture" of /info is the kernel's).
_PROGRAMS = {
    "amd64": (_EM_X86_64, X86_64),
    "x86_64": (_EM_X86_64, X86_64),
    "arm64": (_EM_AARCH64, AARCH64),
    "aarch64": (_EM_AARCH64, AARCH64),
}
_HEADER, _PROGRAM_HEADER, _BASE = 64, 56, 0x400000


def supported(architecture: str) -> bool:
    return architecture in _PROGRAMS


def program(architecture: str) -> bytes:
    """A static ELF executable: file header, one read-execute segment, code."""
    machine, code = _PROGRAMS[architecture]
    start = _HEADER + _PROGRAM_HEADER
    size = start + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",  # 64 bits, little endian, version 1
        2,  # ET_EXEC
        machine,
        1,
        _BASE + start,
        _HEADER,
        0,
        0,
        _HEADER,
        _PROGRAM_HEADER,
        1,
        0,
        0,
        0,
    )
    # PT_LOAD, read + execute; aligned to 64 KiB, the largest page size of ARM kernels.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return header + segment + code


def image_tar(architecture: str) -> bytes:
    """The image's only layer, ready for POST /images/create?fromSrc=-. Reproducible: time 0, owner root."""
    content = program(architecture)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("pause")
        entry.mode = 0o755
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
