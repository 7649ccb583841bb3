"""What the check_*.py tools share: the files of the tree, C++ without comments, and how findings are printed."""
import re
import subprocess
import sys
from pathlib import Path

CPP = {".h", ".cpp", ".cu", ".cuh", ".inc"}


def files(root: Path) -> list[str]:
    """Tracked files and new ones that git does not ignore, as paths relative to root."""
    out = subprocess.run(["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"], check=True, capture_output=True)
    names = {name for name in out.stdout.decode("utf-8", "surrogateescape").split("\0") if name}
    return sorted(name for name in names if (root / name).is_file())


def is_cpp(name: str) -> bool:
    return Path(name).suffix in CPP


# A comment, or a literal that is kept or blanked: raw string, string, character. Digit separators (1'000) are no literals.
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])\'(?:\\.|[^\'\\\n])*\'', re.S)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def without_comments(text: str) -> str:
    return _TOKEN.sub(lambda m: _blank(m[0]) if m[0].startswith(("//", "/*")) else m[0], text)


def code_only(text: str) -> str:
    """Comments and literals become spaces; line numbers stay."""
    return _TOKEN.sub(lambda m: _blank(m[0]), text)


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def report(tool: str, findings: list[str], summary: str) -> int:
    """Prints findings and a closing line; returns the exit code."""
    for finding in findings:
        print(finding, file=sys.stderr)
    print(f"{tool}: {len(findings)} finding(s)" if findings else f"{tool}: {summary}")
    return 1 if findings else 0
