"""What goes wrong around a run, in words that say what to do about it."""

from nogan.errors import UserError

WORKER = "DataLoader worker"


def explained(error: Exception) -> UserError | None:
    """``error`` as a line for the user, if it is of a known kind; None for one that is a defect of this program."""
    text = str(error)
    if isinstance(error, UserError):
        if WORKER not in text:
            return error
        # One from a data worker comes with that process's traceback in front of its own words.
        return UserError(text.strip().splitlines()[-1].removeprefix("nogan.errors.UserError: "))
    if isinstance(error, RuntimeError) and WORKER in text:
        reason = " ".join(text.split())
        return UserError(f"a data worker died ({reason}): often for want of memory; lower data.workers")
    if isinstance(error, OSError) and error.filename:
        return UserError(f"{error.filename}: {error.strerror}; is the disk still there?")
    return None
