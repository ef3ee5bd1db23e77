"""Turn the book's MyST into Markdown that any notebook reader shows well."""

import re
from collections.abc import Callable, Mapping

KINDS = {
    "exercise-start": "exercise",
    "solution-start": "solution",
    "chapter-summary": "in one sentence",
}
SILENT = {"exercise-end", "solution-end"}

LABEL = re.compile(r"^\([\w-]+\)=\n", flags=re.MULTILINE)
EQUATION = re.compile(r"\\(?:begin|end)\{equation\*?\}")
ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<content>[^`]*)`")
WITH_TARGET = re.compile(r"(?P<text>.*\S)\s*<(?P<target>[^<>]*)>", flags=re.DOTALL)
OPEN = re.compile(r"^(?P<fence>:{3,})\{(?P<kind>[\w:-]+)\}[ ]*(?P<title>.*)$")
OPTION = re.compile(r"^:[\w-]+:")


def plain_markdown(
    text: str, title_of: Callable[[str], str] = str, glued: Mapping[str, str] | None = None
) -> str:
    """Rewrite roles, directives, labels and equations as plain Markdown.

    Args:
        text: of one Markdown cell.
        title_of: the words for a document that a link names by its path alone.
        glued: the computed values that the text names; MyST-NB warns where one is missing.
    """
    values = glued or {}

    def words(match: re.Match[str]) -> str:
        if match["role"].startswith("glue"):
            return values.get(match["content"], match["content"])
        return _words(match["role"], match["content"], title_of)

    text = ROLE.sub(words, EQUATION.sub("$$", LABEL.sub("", text)))
    return "\n".join(_without_fences(text.split("\n")))


def _words(role: str, content: str, title_of: Callable[[str], str]) -> str:
    explicit = WITH_TARGET.fullmatch(content)
    if explicit is not None:
        return explicit["text"]
    if role == "doc":
        return title_of(content)
    if role.startswith("cite"):
        return f"[{content}]"
    return content.replace("-", " ")


def _without_fences(lines: list[str]) -> list[str]:
    """Replace the fences of directives by a heading in bold, and drop their options."""
    result: list[str] = []
    fences: list[str] = []
    options = False
    for line in lines:
        opened = OPEN.match(line)
        if opened is not None:
            fences.append(opened["fence"])
            options = True
            result += _heading(opened["kind"].removeprefix("prf:"), opened["title"])
        elif fences and line.strip() == fences[-1]:
            fences.pop()
            options = False
        elif not (options and OPTION.match(line)):
            options = options and not line.strip()
            result.append(line)
    return result


def _heading(kind: str, title: str) -> list[str]:
    if kind in SILENT:
        return []
    kind = KINDS.get(kind, kind)
    # A solution's argument is its exercise's label.
    words = f" ({title})" if title and kind != "solution" else ""
    return [f"**{kind.capitalize()}{words}.**", ""]
