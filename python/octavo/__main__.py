"""`python -m octavo` is the program: the same options, output and exit codes as `octavo`."""
import os
import sys
from pathlib import Path


def main():
    program = Path(__file__).parent / "bin" / "octavo"
    if not program.exists():
        sys.exit(f"octavo: the program is not in this package ({program}); install it with pip install .")
    os.execv(program, ["octavo", *sys.argv[1:]])


if __name__ == "__main__":
    main()
