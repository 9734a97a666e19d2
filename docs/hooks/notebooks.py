"""The notebooks of `examples/notebooks` as tutorials, with the outputs and figures that they were saved with."""

import re
from typing import Any

import nbformat
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from sources import ROOT

NOTEBOOKS = ROOT / "examples" / "notebooks"
ADAPTED = ROOT / "build" / "site_notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
MERMAID = re.compile(r"<script type=\"module\">(?:(?!</script>).)*mermaid.*?</script>", re.DOTALL)
FIGURE = "application/vnd.plotly.v1+json"


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: Any) -> Files:
    """Add every notebook."""
    (ADAPTED / "tutorials").mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = adapted(nbformat.read(path, as_version=4))
        (ADAPTED / "tutorials" / path.name).write_text(nbformat.writes(notebook), encoding="utf-8")
        made = File(f"tutorials/{path.name}", str(ADAPTED), config.site_dir, config.use_directory_urls)
        files.append(made)
    return files


def adapted(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook whose links lead to pages of the site, without bars of progress and figures that need a kernel."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = site_links(cell.source)
        else:
            cell.outputs = [kept(output) for output in cell.outputs if WIDGET not in output.get("data", {})]
    return notebook


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Without the script of a drawing language that nothing here uses, and which would come from a network."""
    return MERMAID.sub("", html) if page.file.src_path.endswith(".ipynb") else html


def site_links(text: str) -> str:
    """Links to documents and other notebooks, as from a page of the site; these are not looked at by mkdocs itself."""
    text = re.sub(r"\]\((?:\.\./)+docs/([^)#]+)\.md", r"](../\1.html", text)
    return re.sub(r"\]\(([\w/.]+)\.ipynb", r"](\1.html", text)


def kept(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output whose figure is the saved picture."""
    if FIGURE in output.get("data", {}):
        output.data.pop(FIGURE)
    return output
