"""What the site needs beyond `docs/`: the records and the repository's own pages, with links that work in both places.

Pages link as they lie in the repository (`../experiments/quickstart.md`), so that they can be read there, too.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FOLDERS = ("experiments", "benchmarks")
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
_LINK = re.compile(r"(\]\()([^)\s#:]+)")
_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|obj|const):<code>~?([^<]*)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the records and their pictures, and the pages at the root of the repository."""
    found = [
        path
        for folder in FOLDERS
        for kind in ("md", "png", "svg")
        for path in sorted((ROOT / folder).rglob(f"*.{kind}"))
    ]
    for path in (*found, *(ROOT / name for name in PAGES)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site, where `docs/` is the root."""
    source = page.file.src_uri
    outside = source.startswith(FOLDERS) or source in PAGES
    folder = Path(source).parent if outside else Path("docs", source).parent

    def moved(match: re.Match[str]) -> str:
        target = (ROOT / folder / match[2]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        in_repository = target.relative_to(ROOT)
        on_site = in_repository.relative_to("docs") if in_repository.parts[:1] == ("docs",) else in_repository
        up = "../" * (len(Path(source).parts) - 1)
        return f"{match[1]}{up}{on_site.as_posix()}"

    return _LINK.sub(moved, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show what docstrings write as reStructuredText, ``:func:`nogan.x.y``` and ``::`` before code, as prose."""
    html = html.replace("::</p>", ":</p>")
    return _ROLE.sub(lambda match: f"<code>{match[1].rpartition('.')[2]}</code>", html)
