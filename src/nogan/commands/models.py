"""`nogan models [NAME]`: the colorizers that go by a name, and which of them are here."""

from collections.abc import Sequence

from nogan.commands import parser_of
from nogan.common.errors import UserError
from nogan.common.files import in_words
from nogan.networks.named import DEOLDIFY, STARTER, STARTER_FILE, Published, cache_folder, obtain


def main(argv: Sequence[str]) -> None:
    """Print the list, or fetch one."""
    parser = parser_of("models")
    parser.add_argument("name", nargs="?", metavar="NAME", help="fetch this one now, instead of when it is first used")
    name = parser.parse_args(argv).name
    if name is not None:
        print(STARTER_FILE if name == STARTER else obtain(_named(name)))
        return
    print(f"{STARTER:<18}{in_words(STARTER_FILE.stat().st_size):>9}  here       small; comes with the package")
    for model in DEOLDIFY:
        here = "here" if model.is_there else "not here"
        print(f"{model.name:<18}{in_words(model.size):>9}  {here:<9}  {model.about}")
    print(f"--checkpoint NAME takes one, and fetches it if it is not here, into {cache_folder()}")


def _named(name: str) -> Published:
    for model in DEOLDIFY:
        if model.name == name:
            return model
    raise UserError(f"{name}: expected one of {', '.join([STARTER, *(model.name for model in DEOLDIFY)])}")
