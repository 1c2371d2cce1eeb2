"""Runs the notebooks of docs/notebooks and writes each as a Markdown page beside it.

python docs/extensions/notebooks.py            (all; about a minute)
python docs/extensions/notebooks.py --pages    (pages only, from the outputs as they are)
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / 'notebooks'
PROJECTS = FOLDER.parents[1] / 'projects'
WIDEST = 760  # pixels of a picture on a page


def run(path: Path) -> dict[str, Any]:
    """A notebook with what its cells answer now; raises where one fails."""
    import matplotlib.font_manager  # noqa: F401  # the first import says on some machines that it is slow
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=900,
            startup_timeout=900,
            kernel_name='python3',
            resources=dict(metadata=dict(path=folder)),
        )
        path_of_modules = f'{PROJECTS}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
        client.execute(env=dict(os.environ, PYTHONPATH=path_of_modules))
    for cell in notebook.cells:  # when it was run is no news
        cell.metadata.pop('execution', None)
        for output in cell.get('outputs', []):
            if 'image/png' in output.get('data', {}):
                output.data['image/png'] = smaller(output.data['image/png'])
    return json.loads(nbformat.writes(notebook))


def smaller(picture: str) -> str:
    """A PNG in base64 with fewer pixels and colours: notebooks are kept in the repository."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as large:
        image = large.convert('RGB')
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.quantize(64).save(file, 'PNG', optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook, and its pictures by file name."""
    parts, pictures = [], {}
    for cell in notebook['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            parts.append(source)
            continue
        parts.append(f'```python\n{source}\n```')
        for output in cell['outputs']:
            data = output.get('data', {})
            if 'image/png' in data:
                file = f'{name}_{len(pictures) + 1}.png'
                pictures[file] = base64.b64decode(''.join(data['image/png']))
                parts.append(f'![{_caption(source)}]({file})')
            elif 'text' in output and output.get('name') != 'stderr':
                parts.append(_table_or_text(''.join(output['text'])))
            elif 'text/plain' in data:
                parts.append(_table_or_text(''.join(data['text/plain'])))
    note = f'This page is the notebook [{name}.ipynb]({name}.ipynb), with what it printed.'
    head, *rest = parts
    return '\n\n'.join([head, note, *rest]) + '\n', pictures


def _caption(source: str) -> str:
    """What a picture shows: the last comment of its cell."""
    found = re.findall(r'^# (.+)$', source, re.M)
    return found[-1] if found else 'figure'


def _table_or_text(text: str) -> str:
    text = text.rstrip()
    if text.lstrip().startswith('|'):
        return text.strip()
    return f'```text\n{text}\n```'


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pages', action='store_true', help='run nothing')
    args = parser.parse_args()
    for path in sorted(FOLDER.glob('*.ipynb')):
        notebook = json.loads(path.read_text(encoding='utf-8')) if args.pages else run(path)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        text, pictures = page(notebook, path.stem)
        path.with_suffix('.md').write_text(text, encoding='utf-8')
        for old in FOLDER.glob(f'{path.stem}_*.png'):
            old.unlink()
        for file, content in pictures.items():
            (FOLDER / file).write_bytes(content)
        print(f'{path.name}: {len(notebook["cells"])} cells, {len(pictures)} pictures')


if __name__ == '__main__':
    main()
