"""Classes that a config names by ``_target_``: found, checked, and called.

A section ``{_target_: my_package.MyClass, width: 16}`` stands for ``MyClass(width=16)``. The current folder is searched
beside ``PYTHONPATH``. Only what a user has written or passed on is looked up here: a ``_target_`` that was read from a
run folder or a weights file names code that its user may never have seen (see :func:`already_imported`).
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nogan.common.errors import UserError

TARGET = "_target_"


def has_target(section: Any) -> bool:
    """Whether ``section`` is a mapping that names a class or function."""
    return isinstance(section, Mapping) and isinstance(section.get(TARGET), str)


def arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that ``section`` has for its class."""
    return {str(key): value for key, value in section.items() if key != TARGET}


def locate(section: Mapping[str, Any], key: str) -> Callable[..., Any]:
    """The class or function that ``section`` names; its module is imported.

    Args:
        section: holds ``_target_``.
        key: where in the config it stands, for messages.

    Raises:
        UserError: there is no such module, it fails on being imported, or has nothing callable of that name.
    """
    target = section[TARGET]
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise UserError(f"{key}.{TARGET}={target}: expected MODULE.NAME, such as my_module.MyClass")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        where = "in the current folder or on PYTHONPATH" if error.name in _parents(module_name) else "for it"
        raise UserError(f"{key}.{TARGET}={target}: there is no module {error.name} {where}") from error
    except Exception as error:  # whatever the module raises while it is imported
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{key}.{TARGET}={target}: importing {module_name} failed: {reason}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"{key}.{TARGET}={target}: {module.__file__ or module_name} has no class {name}")
    return found


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


def already_imported(target: str) -> Callable[..., Any] | None:
    """What ``target`` names, if its module has been imported by someone else; importing it here could run any code."""
    module_name, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module_name), name, None)
    return found if callable(found) else None


def check(section: Mapping[str, Any], key: str, base: type, given: Iterable[str] = ()) -> None:
    """Refuse a ``section`` whose class does not exist, is not a ``base``, or does not take the given arguments.

    Args:
        section: as in the config.
        key: where it stands there.
        base: what the class must derive from; a function is not checked before it has returned something.
        given: names of further arguments, which the program adds.

    Raises:
        UserError: in one line.
    """
    found = locate(section, key)
    if isinstance(found, type) and base is not object and not issubclass(found, base):
        raise UserError(f"{key}.{TARGET}={section[TARGET]}: expected a {base.__module__}.{base.__qualname__}")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # of a class written in C
        return
    try:
        signature.bind(**arguments(section), **dict.fromkeys(given))
    except TypeError as error:
        own = [name for name in signature.parameters if name not in {"self", *given}]
        raise UserError(f"{key}: {error} of {section[TARGET]}, which takes {', '.join(own) or 'nothing'}") from None


def build(section: Mapping[str, Any], key: str, base: type, **given: Any) -> Any:
    """What ``section`` describes, made with its own arguments and those ``given``.

    Raises:
        UserError: as :func:`check`; or calling it failed, or gave something other than a ``base``.
    """
    check(section, key, base, given)
    try:
        made = locate(section, key)(**arguments(section), **given)
    except UserError:
        raise
    except (TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{key}: {section[TARGET]} refused its arguments: {reason}") from error
    if not isinstance(made, base):
        raise UserError(f"{key}: {section[TARGET]} gave a {type(made).__name__}; expected a {base.__qualname__}")
    return made
