"""Writes, as a tar on standard output, the root of an image that runs `app.py`: no image registry is asked.

    /usr/bin/python3 make_root.py app.py /path/to/static/busybox > root.tar

It takes what the application really needs from the Python that runs this script: the interpreter, the modules that
importing the application loads, and the shared libraries that `ldd` finds for them (about 13 MB with Debian's Python);
beside it a static busybox for /bin/sh and wget (container health checks, a shell to look around). Times and owners
are fixed, so that the same input gives the same layer.
"""

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

# Optional parts of the standard library that the application never uses and that pull in large libraries.
LEFT_OUT = ("ssl", "_ssl", "_hashlib", "bz2", "_bz2", "lzma", "_lzma")
CODECS = ("encodings.idna", "encodings.latin_1", "encodings.ascii", "encodings.utf_8", "stringprep", "unicodedata")
APPLETS = ("sh", "wget", "cat", "ls", "ps", "env", "kill", "sleep", "id", "ip", "hostname", "netstat", "nslookup", "nc")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def loaded_modules(app: Path) -> set[Path]:
    """The files of every module that importing the application loads."""
    for name in LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment]
    spec = importlib.util.spec_from_file_location("app", app)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    for name in CODECS:
        __import__(name)
    files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
    standard_library = Path(os.__file__).parent
    return {file for file in files if standard_library in file.parents and "-packages" not in str(file)}


def shared_libraries(binaries: set[Path]) -> set[Path]:
    """What the dynamic linker loads for them, the linker itself included."""
    found: set[Path] = set()
    for binary in binaries:
        output = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for word in output.split():
            if word.startswith("/") and ".so" in word:
                found.add(Path(word))
    return found


class Root:
    """The tar being written; every path once, directories before their content."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.names: set[str] = set()

    def _entry(self, name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
        for parent in reversed(Path(name).parents):
            if str(parent) != "." and str(parent) not in self.names:
                self.names.add(str(parent))
                self.tar.addfile(self._entry(str(parent), tarfile.DIRTYPE, 0o1777 if str(parent) == "tmp" else 0o755))
        self.names.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = kind, mode
        return entry

    def data(self, name: str, content: bytes, mode: int = 0o644) -> None:
        if name not in self.names:
            entry = self._entry(name, tarfile.REGTYPE, mode)
            entry.size = len(content)
            self.tar.addfile(entry, io.BytesIO(content))

    def file(self, path: Path, name: str = "") -> None:
        executable = os.access(path, os.X_OK) or ".so" in path.name
        self.data(name or str(path).lstrip("/"), path.read_bytes(), 0o755 if executable else 0o644)

    def link(self, name: str, target: str) -> None:
        entry = self._entry(name, tarfile.SYMTYPE, 0o777)
        entry.linkname = target
        self.tar.addfile(entry)


def write_root(root: Root, app: Path, busybox: Path) -> None:
    python = Path(sys.executable).resolve()
    modules = loaded_modules(app)
    native = {module for module in modules if ".so" in module.name}
    for name, content in FILES.items():
        root.data(name, content.encode())
    root.data("tmp/.keep", b"")
    root.file(busybox, "bin/busybox")
    for applet in APPLETS:
        root.link(f"bin/{applet}", "busybox")
    for path in sorted({python} | shared_libraries({python} | native) | modules):
        root.file(path)
    root.file(app, "app/app.py")
    if str(python) != "/usr/bin/python3":
        root.link("usr/bin/python3", str(python))


def main() -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        write_root(Root(tar), Path(sys.argv[1]).resolve(), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
