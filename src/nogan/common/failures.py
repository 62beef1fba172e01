"""Known failures of memory, disk and data workers, as messages that tell what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from nogan.common.errors import UserError
from nogan.common.files import DiskFull

WORKER = "DataLoader worker"
ORIGINAL = "Original Traceback"  # in the message of an error that was raised in a worker, and raised again here
SHARED_MEMORY = ("shared memory", "Bus error")
OUT_OF_MEMORY = ("out of memory", "allocate memory", "alloc_failed")  # of GPUs, of the CPU, of cuBLAS and cuDNN


def is_of_a_worker(error: Exception) -> bool:
    """Whether ``error`` is that of a data worker, or tells that one died.

    PyTorch tells a death in the handler of a signal: the error comes out of whatever the program is doing just then,
    which is not what failed.
    """
    return isinstance(error, RuntimeError | MemoryError) and WORKER in str(error)


def is_out_of_memory(error: Exception) -> bool:
    """Whether ``error`` means that this process ran out of memory, and not one of its data workers."""
    if is_of_a_worker(error):
        return False
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in words for each in OUT_OF_MEMORY)
    )


def too_little_shared_memory() -> UserError:
    """What to say where data workers do not get the shared memory that they hand batches over in."""
    return UserError(
        "the shared memory of data workers (/dev/shm) is too small: give it more, such as "
        "docker run --shm-size=8g, or set data.workers=0"
    )


@contextmanager
def naming_out_of_memory(where: str, instead: str) -> Iterator[None]:
    """Turn running out of memory, on a GPU or on the CPU, into a :class:`UserError`.

    Args:
        where: what was being done, for the message.
        instead: what the user can change.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory in {where}: {instead}") from error
        raise


def explained(error: Exception) -> UserError | None:
    """``error`` as a :class:`UserError`, if it is of a known kind; None if it is a defect of this program."""
    text = str(error)
    if isinstance(error, UserError):
        # The message of one from a data worker is the traceback of that process.
        return UserError(text.partition("nogan.common.errors.UserError: ")[2].strip()) if ORIGINAL in text else error
    if is_of_a_worker(error):
        if any(words in text for words in SHARED_MEMORY):
            return too_little_shared_memory()
        lines = text.strip().splitlines()
        reason = (lines[-1] if ORIGINAL in text else " ".join(lines)).strip().rstrip(".")
        return UserError(f"a data worker died ({reason}): often because memory ran out; lower data.workers")
    if isinstance(error, DiskFull):
        return UserError(f"{error.filename}: {error.strerror}; free some")
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{error.filename}: {error.strerror}; is the disk still there?")
    return None
