"""The installed package: what it says about itself, the program, and life without torch."""
import subprocess
import sys

import octavo


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=400)  # NOTE: the first import of torch reads 4 GB


def test_build_info_names_the_backends():
    info = octavo.build_info()
    assert info["backends"][0] == "cpu" and "reference" in info["cpu_isas"]
    assert ("cuda" in info["backends"]) == bool(info["cuda_architectures"]) == bool(info["cuda_ops"]) == info["version"].endswith("+cuda")
    assert octavo.__version__ == info["version"] and (octavo.__version__.endswith(("+cpu", "+cuda")))


def test_python_m_octavo_is_the_program():
    version = run("-m", "octavo", "--version")
    assert version.returncode == 0 and version.stdout == f"octavo {octavo.__version__.partition('+')[0]}\n"
    assert run("-m", "octavo", "generat").returncode == 2
    assert run("-m", "octavo", "generate", "-m", "/nowhere").returncode == 3
    demo = run("-m", "octavo", "generate", "-p", "Once upon a time", "-n", "5", "--temp", "0", "-q")
    assert demo.returncode == 0 and demo.stdout.strip()


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch": raise ImportError("torch is blocked")
sys.meta_path.insert(0, NoTorch())
"""


def test_works_without_torch():
    done = run("-c", WITHOUT_TORCH + """
import octavo, numpy
assert octavo.LLM(threads=1).generate("Once", max_tokens=4, seed=1).generated_tokens == 4
octavo.rms_norm(numpy.ones((2, 8), numpy.float32), numpy.ones(8, numpy.float32))
assert "torch" not in sys.modules
try: octavo.nn
except ImportError as error: print(error)
""")
    assert (done.returncode, done.stdout) == (0, "torch is blocked\n"), done.stderr


def test_stubs_and_types_are_installed():
    from pathlib import Path
    folder = Path(octavo.__file__).parent
    assert (folder / "py.typed").exists()
    stub = (folder / "_octavo.pyi").read_text()
    assert "def rms_norm(" in stub and "class TextStream" in stub


def test_torch_may_be_imported_after_octavo():
    import importlib.util
    import pytest
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    done = run("-c", """
import octavo, torch
y = octavo.rms_norm(torch.ones(2, 8), torch.ones(8, requires_grad=True))
assert y.requires_grad and torch.ops.octavo.rms_norm.default
octavo.nn.RMSNorm(8), octavo.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
""")
    assert done.returncode == 0, done.stderr
