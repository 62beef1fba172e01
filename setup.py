"""Puts the recipes into the package, so that `nogan train` works without a checkout; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RECIPES = ("conf/**/*.yaml", "experiments/*.yaml")


class BuildWithRecipes(build_py):
    """Copies ``conf/`` and ``experiments/`` to ``nogan/_recipes``; an editable install uses the checkout's own."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        for source, target in self._recipes():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The files that are built, the copies among them."""
        return [*super().get_outputs(include_bytecode), *(target for _, target in self._recipes())]

    def _recipes(self) -> list[tuple[str, str]]:
        if self.editable_mode:
            return []
        found = sorted(path for pattern in RECIPES for path in Path().glob(pattern))
        return [(str(path), str(Path(self.build_lib) / "nogan" / "_recipes" / path)) for path in found]


setup(cmdclass={"build_py": BuildWithRecipes})
