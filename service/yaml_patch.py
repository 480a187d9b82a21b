"""A change to one YAML file of the configuration as a patch that a person can read, keep and review. Pure.

Comments and order stay as people wrote them: only lines are added, at the end of the section that the change is about.
What cannot be added that way (a section written in one line) is a clear error with what to write by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from textwrap import indent

import yaml


def with_entry(text: str, section: str, lines: str) -> str:
    r"""The text with `lines` (an entry in YAML, not indented) added to a top-level section, which is made if needed.

    >>> print(with_entry("a: 1\nkeys:\n  k1: {x: 1}\n# end\n", "keys", "k2: {x: 2}\n"), end="")
    a: 1
    keys:
      k1: {x: 1}
      k2: {x: 2}
    # end

    Raises:
        ValueError: the section is written in one line, so that nothing can be added below it.
    """
    text = text if text.endswith("\n") or not text else f"{text}\n"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found = _section(root, section)
    if found is None:
        return f"{text}{section}:\n{indent(lines, '  ')}"
    written = text.splitlines(keepends=True)
    last = _last_line(found)
    if found.flow_style and found.value:
        raise ValueError(f"{section} is written in one line: add there by hand\n{lines}")
    if not found.value:  # `keys: {}`, `keys: []` or nothing
        at = found.start_mark.line
        return "".join([*written[:at], f"{section}:\n", indent(lines, "  "), *written[at + 1 :]])
    pad = " " * found.start_mark.column
    return "".join([*written[: last + 1], indent(lines, pad), *written[last + 1 :]])


def patch(file: str, before: str, after: str) -> str:
    """A unified diff, as `patch -p1` and `git apply` take it; empty when nothing changes."""
    names = f"a/{file}", f"b/{file}"
    return "".join(_whole(unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), *names)))


def _whole(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _section(root: yaml.Node | None, section: str) -> yaml.CollectionNode | None:
    """The value of a top-level name; a name with nothing behind it is an empty section."""
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("the file is no list of settings")
    for name, value in root.value:
        if name.value == section:
            if isinstance(value, yaml.CollectionNode):
                return value
            return yaml.MappingNode("", [], name.start_mark, value.end_mark)
    return None


def _last_line(node: yaml.CollectionNode) -> int:
    """The last line that belongs to it: an end mark of a block stands on the line of whatever comes next."""
    last = node.start_mark.line
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            inner = isinstance(part, yaml.CollectionNode) and not part.flow_style and part.value
            last = max(last, _last_line(part) if inner else _ends(part))
    return last


def _ends(node: yaml.Node) -> int:
    """Text in a block of its own ends where the next line begins."""
    end = node.end_mark
    return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)
