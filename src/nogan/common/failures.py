"""What goes wrong around a run, in words that say what to do about it."""

from collections.abc import Iterator
from contextlib import contextmanager

from nogan.common.errors import UserError
from nogan.common.files import DiskFull

WORKER = "DataLoader worker"
OUT_OF_MEMORY = ("out of memory", "allocate memory", "alloc_failed")  # GPUs, the CPU, cuBLAS and cuDNN


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` says that this process has no memory left; its data workers' is another matter."""
    text = str(error)
    ours = isinstance(error, MemoryError | RuntimeError) and WORKER not in text
    return ours and (isinstance(error, MemoryError) or any(words in text.lower() for words in OUT_OF_MEMORY))


@contextmanager
def naming_out_of_memory(where: str, instead: str) -> Iterator[None]:
    """Say of memory that runs out within ``where`` that was, and what to do ``instead``.

    Raises:
        UserError: it did, on a GPU or on the CPU.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory in {where}: {instead}") from error
        raise


def explained(error: Exception) -> UserError | None:
    """``error`` as a line for the user, if it is of a known kind; None for one that is a defect of this program."""
    text = str(error)
    if isinstance(error, UserError):
        if WORKER not in text:
            return error
        # One from a data worker comes with that process's traceback in front of its own words.
        return UserError(text.strip().splitlines()[-1].removeprefix("nogan.common.errors.UserError: "))
    if isinstance(error, RuntimeError | MemoryError) and WORKER in text:
        lines = text.strip().splitlines()
        reason = lines[-1] if "Traceback" in text else " ".join(lines)
        return UserError(f"a data worker died ({reason}): often for want of memory; lower data.workers")
    if isinstance(error, DiskFull):
        return UserError(f"{error.filename}: {error.strerror}; make some")
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{error.filename}: {error.strerror}; is the disk still there?")
    return None
