"""What octavo raises: one class a kind of failure. `exit_code` is what the program exits with (docs/generate.md)."""


class Error(RuntimeError):
    """Anything that fails while running, input and output included."""

    exit_code = 1


class UsageError(Error, ValueError):
    """A bad argument; the message names the op, the argument and the numbers that disagree."""

    exit_code = 2


class ModelError(Error):
    """A model folder or file that is missing, damaged or not understood."""

    exit_code = 3


class OutOfMemoryError(Error, MemoryError):
    """It does not fit the memory or the budget."""

    exit_code = 4


class NoDeviceError(Error):
    """No usable device, no kernel for it in this build, or an instruction set that this CPU lacks."""

    exit_code = 5


class DeviceFaultError(Error):
    """A CUDA error after which the process must be restarted."""

    exit_code = 70
