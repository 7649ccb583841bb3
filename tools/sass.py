"""The GPU code of a build as text that depends on the instructions alone: what receipts.py keys and sass_gate.py judges."""
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# _GLOBAL__N__<hash>_<length>_<file>_cu_<hash>, with the length of all that in front: the hashes come from paths and contents.
_UNNAMED = re.compile(r"\d+_GLOBAL__N__[0-9a-f]{8}_\d+_(\w+?)_cu_[0-9a-f]{8}")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?);\s*/\*", re.M)
_FUNCTION = re.compile(r"^\t*\s*Function : (\S+)$", re.M)
_RESOURCES = re.compile(r"Function (\S+):\n\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


class ToolMissing(Exception):
    pass


@dataclass(frozen=True)
class Kernel:
    name: str  # "rms_norm_in_registers<F16, 0, true, false>"
    registers: int
    stack_bytes: int
    local_bytes: int
    instructions: tuple[str, ...]  # "@P0 LDG.E.128 R4, desc[UR4][R2.64]"

    def count(self, pattern: str) -> int:
        """How many instructions have an operation that begins with this regular expression."""
        operation = re.compile(r"(?:@!?U?P[0-9T]+ )?" + pattern)
        return sum(1 for text in self.instructions if operation.match(text))


_SHARED_LOAD = re.compile(r"LDSM?\b(\S*) R(\d+),")
_USES_GROUPS = re.compile(r"\w*(MMA|ST[GS])\b")  # R4 stands for R4 to R7


def overtaken_loads(instructions: tuple[str, ...]) -> list[str]:
    """Loads from shared memory whose results no instruction has waited for when an mbarrier gets an arrival behind them.

    What that arrival gives away may be written before it is read. Read from top to bottom, without branches.
    """
    pending: dict[str, set[int]] = {}
    found = []
    for text in instructions:
        operation = re.sub(r"^@!?U?P[0-9T]+ ", "", text)
        registers = {int(r) for r in re.findall(r"\bR(\d+)\b", operation)}
        if _USES_GROUPS.match(operation):
            registers = {r + i for r in registers for i in range(4)}
        load = _SHARED_LOAD.match(operation)
        pending = {t: kept for t, kept in pending.items() if not kept & registers}
        if load:
            count = 4 if re.search(r"[.](128|M88[.]4)", load[1]) else 2 if re.search(r"[.](64|M88[.]2)", load[1]) else 1
            pending[text] = set(range(int(load[2]), int(load[2]) + count))
        elif operation.startswith("SYNCS.ARRIVE"):
            found += [f"{t} in front of {text}" for t in pending]
        elif text.startswith("EXIT"):
            pending = {}
    return found


def cuobjdump() -> str:
    """The pinned disassembler in .venv, so that every machine reads the same text."""
    for path in sorted(ROOT.glob(".venv/lib/python3*/site-packages/nvidia/cu13/bin/cuobjdump")):
        return str(path)
    raise ToolMissing("no cuobjdump in .venv: run ./dev setup --cuda")


def objects_of_ops(build: Path) -> dict[str, list[Path]]:
    """The compiled .cu files of every op of a build folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(build.glob("CMakeFiles/octavo_op_*.dir/src/ops/*/*.cu.o")):
        found.setdefault(path.parent.name, []).append(path)
    return found


def _readable(names: list[str]) -> dict[str, str]:
    """Mangled names as people write them: no namespaces, no parameters, enum values as numbers."""
    if not names:
        return {}
    if not shutil.which("c++filt"):
        raise ToolMissing("no c++filt: install binutils")
    shown = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True).stdout.splitlines()
    short = {}
    for mangled, text in zip(names, shown, strict=True):
        text = re.sub(r"\(anonymous namespace\)::|octavo::(?:cuda::)?", "", text)
        text = re.sub(r"\((?!\))[A-Za-z_:]+\)(?=\d)", "", text)  # (RowSpan)2
        depth, end = 0, len(text)
        for i, c in enumerate(text):
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                end = i
                break
        short[mangled] = re.sub(r"^void ", "", text[:end])
    return short


def _dump(option: str, obj: Path, arch: str) -> str:
    run = subprocess.run([cuobjdump(), option, "-arch", arch, str(obj)], capture_output=True, text=True)
    if run.returncode != 0 or "Function" not in run.stdout:
        raise ToolMissing(f"{obj.name}: no code for {arch} in it ({(run.stderr or run.stdout).strip()[:200] or 'nothing printed'})")
    return run.stdout


def kernels_of(objects: list[Path], arch: str) -> list[Kernel]:
    """Every kernel of these objects for one architecture ("sm_90a"), sorted by name."""
    kernels = []
    for obj in objects:
        resources = {m[1]: tuple(map(int, m.group(2, 3, 5))) for m in _RESOURCES.finditer(_dump("-res-usage", obj, arch))}
        parts = _FUNCTION.split(_dump("-sass", obj, arch))
        mangled, bodies = parts[1::2], parts[2::2]
        names = _readable(mangled)
        for name, body in zip(mangled, bodies):
            registers, stack, local = resources[name]
            instructions = tuple(re.sub(r"\s+", " ", _UNNAMED.sub(r"\1", text)).strip() for text in _INSTRUCTION.findall(body))
            kernels.append(Kernel(names[name], registers, stack, local, instructions))
    return sorted(kernels, key=lambda k: (k.name, k.instructions))


def kernels_of_op(build: Path, op: str, arch: str) -> list[Kernel]:
    """kernels_of the op's objects, kept in <build>/sass: taking them apart takes seconds."""
    objects = objects_of_ops(build)[op]
    stamp = [[str(o.relative_to(build)), o.stat().st_mtime_ns, o.stat().st_size] for o in objects]
    stamp.append(["sass.py", Path(__file__).stat().st_mtime_ns, 0])
    store = build / "sass" / f"{op}.{arch}.json"
    if store.exists():
        kept = json.loads(store.read_text())
        if kept["stamp"] == stamp:
            return [Kernel(*fields[:4], tuple(fields[4])) for fields in kept["kernels"]]
    kernels = kernels_of(objects, arch)
    store.parent.mkdir(exist_ok=True)
    rows = [[k.name, k.registers, k.stack_bytes, k.local_bytes, k.instructions] for k in kernels]
    unfinished = store.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps({"stamp": stamp, "kernels": rows}))
    unfinished.replace(store)
    return kernels


def text_of(kernels: list[Kernel]) -> str:
    """What a key is the digest of. NOTE: the padding after the last instruction of a kernel stays, since it is code too."""
    return "".join(f"{k.name}\n" + "".join(f"  {text}\n" for text in k.instructions) for k in kernels)
