"""Markdown pages taken apart: blocks of code, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
]
FENCE = re.compile(
    r'^(?P<mark><!-- test: [^\n]+ -->\n\n?)?```(?P<language>\w+)\n(?P<code>.*?)^```$', re.M | re.S
)
LINK = re.compile(r'(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)')


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, first line, language, code, and the mark before it.

    A mark is an HTML comment, which readers do not see: ``<!-- test: run -->`` has the commands
    run, ``<!-- test: skip (reason) -->`` leaves the block alone.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'


def blocks(language: str) -> list[Block]:
    """All blocks of one language on all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for match in FENCE.finditer(text):
            if match['language'] == language:
                mark = (match['mark'] or '').strip().removeprefix('<!-- test: ')
                line = text[: match.start('code')].count('\n') + 1
                block = Block(page, line, language, match['code'], mark.removesuffix(' -->'))
                found.append(block)
    return found


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a bash block, as words; comments are left out, broken lines joined."""
    for line in code.replace('\\\n', ' ').splitlines():
        for part in line.split(' && '):
            # what stands in square brackets is optional in a synopsis
            words = shlex.split(part.replace('[', ' ').replace(']', ' '), comments=True)
            if words:
                yield words


def links(page: Path) -> list[str]:
    """Targets of the links of a page that are files, without their anchors."""
    text = re.sub(r'^```.*?^```$', '', page.read_text(encoding='utf-8'), flags=re.M | re.S)
    targets = (match[1].partition('#')[0] for match in LINK.finditer(text))
    return [target for target in targets if target and '://' not in target]
