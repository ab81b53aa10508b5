"""What mkdocs does besides: pages from outside docs/, and a reference page for every module."""

import ast
import os
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
PACKAGES = {"hw": ROOT, "flows": ROOT, "quanos": ROOT / "sw"}
LINK = re.compile(r"(\]\()([^)#:\s]*)(#[^)\s]*)?(\))")


def modules():
    """Dotted name and source of every public module, by package."""
    for package, top in PACKAGES.items():
        for path in sorted((top / package).rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            if not any(part.startswith("_") for part in parts):
                yield package, ".".join(parts), path


def summary(path):
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def on_config(config):
    """The reference at the end of the navigation: a page a package, its modules below."""
    listed = set(_listed(config.nav))
    pages = sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))
    config.nav += [page for page in pages if page not in listed]
    config.nav.append({"Reference": ["reference/index.md"]})
    for package in PACKAGES:
        pages = [{name: f"reference/{name}.md"} for p, name, _ in modules() if p == package]
        config.nav[-1]["Reference"].append({package: pages})
    return config


def _listed(entries):
    """The pages that a part of the navigation names."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from _listed(below if isinstance(below, list) else [below])


def on_files(files, config):
    """Pages that are no files of docs/."""
    for source, target in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, target, content=inside(text)))
    index = ["# Reference", "", "Made from the docstrings.", ""]
    for _, name, path in modules():
        page = f"# {name}\n\n::: {name}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=page))
        index.append(f"- [{name}]({name}.md): {summary(path)}")
    content = "\n".join(index) + "\n"
    files.append(File.generated(config, "reference/index.md", content=content))
    for path in (config.config_file_path, __file__):  # what is in docs/ and no page
        if found := files.get_file_from_path(Path(path).name):
            files.remove(found)
    return files


def inside(text):
    """A page of the repository's top as one of docs/."""
    return LINK.sub(lambda m: f"{m[1]}{_moved(m[2])}{m[3] or ''}{m[4]}", text)


def _moved(target):
    return OUTSIDE.get(target, target.removeprefix("docs/"))


def on_page_markdown(markdown, page, config, files):
    """Links to a module's source lead to its reference, links to the top to its pages."""

    def replaced(match):
        target = match[2]
        if not target or "://" in target:
            return match[0]
        here = ROOT / "docs" / Path(page.file.src_uri).parent
        path = Path(os.path.normpath(here / target))
        for package, top in PACKAGES.items():
            if path.suffix == ".py" and path.is_relative_to(top / package):
                name = ".".join(path.relative_to(top).with_suffix("").parts)
                target = os.path.relpath(ROOT / f"docs/reference/{name}.md", here)
        if path.parent == ROOT and path.name in OUTSIDE:
            target = os.path.relpath(ROOT / "docs" / OUTSIDE[path.name], here)
        return f"{match[1]}{target}{match[3] or ''}{match[4]}"

    return LINK.sub(replaced, markdown)
