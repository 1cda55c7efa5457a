"""Suggests fixes for common TOML syntax errors, by the line of the error."""

import re

_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
_CURLY = re.compile("[\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb]")
_PAIR = re.compile(r"\s*(?P<key>[^=#\"']+?)\s*=\s*(?P<value>[^#]*?)\s*(#.*)?$")
_COLON = re.compile(r"\s*(?P<key>[\w-]+)\s*:\s*(?P<value>.+?)\s*$")
_LIST = re.compile(r"(\"[^\"]*\"|'[^']*'|[-+\w.]+)(\s*,\s*(\"[^\"]*\"|'[^']*'|[-+\w.]+))+")
_PATH = re.compile(r"\"(?P<path>[^\"]*\\[^\"]*)\"?")
_BARE = re.compile(r"[^\s\"'\[\]{},=]+")
_NUMBER = re.compile(r"(?P<percent>[\d.]+)%|(?P<comma>\d+,\d+)|(?P<odd>[-+]?(0*\d*\.\d*|0+\d+))")
_SPACED = re.compile(r"[\w-]+( +[\w-]+)+")
_WORDS = {
    **dict.fromkeys(("true", "yes", "on"), "true"),
    **dict.fromkeys(("false", "no", "off"), "false"),
}
_NOTHING = ("none", "null", "nil", "nan")


def hint(text: str, problem: str) -> str:
    """Returns the probable cause of a syntax error and its fix; empty if unknown.

    Args:
        text: the whole file.
        problem: the message of the parser, with line and column.
    """
    place, lines = _PLACE.search(problem), text.splitlines() or [""]
    number = int(place[1]) if place else len(lines)
    line = lines[min(number, len(lines)) - 1]
    found = (
        _curly(line)
        or _twice(line, problem)
        or _backslash(line, problem)
        or _pair(line)
        or _unfinished(line, problem)
    )
    return f"; {found}" if found else ""


def _curly(line: str) -> str:
    if quote := _CURLY.search(line):
        return f'the quotation mark {quote[0]} is not valid in TOML: put text between " and "'
    return ""


def _twice(line: str, problem: str) -> str:
    if problem.startswith(("Cannot declare", "Cannot mutate")):
        name = line.split("#")[0].strip()
        return f"{name} is declared twice: put all its keys under the first one"
    if problem.startswith("Cannot overwrite") and (pair := _PAIR.match(line)):
        return f"'{pair['key']}' is declared twice in this table: keep one of the two"
    if problem.startswith("Cannot overwrite") and line.lstrip().startswith("["):
        return f"{line.split('#')[0].strip()} already has a value: keep one of the two"
    return ""


def _backslash(line: str, problem: str) -> str:
    escapes = ("Unescaped", "Invalid hex", "Illegal character", "Escaped character")
    if problem.startswith(escapes) and (found := _PATH.search(line)):
        forward = re.sub(r"\\+", "/", found["path"])
        return f'\\ begins an escape between " and ": write "{forward}" or \'{found["path"]}\''
    return ""


def _pair(line: str) -> str:
    pair = _PAIR.match(line)
    if pair is None:
        return ""
    key, value = pair["key"], pair["value"]
    if not value:
        return f"'{key}' has no value: write one after =, or remove the line"
    if _SPACED.fullmatch(key):
        return f'a name with spaces needs quotes: write "{key}" = {value}'
    if number := _NUMBER.fullmatch(value):
        return _number(key, value, number)
    if _LIST.fullmatch(value):
        items = ", ".join(_quoted(item.strip()) for item in value.split(","))
        return f"a list needs brackets: write {key} = [{items}]"
    if value.lower() in _NOTHING:
        return f"TOML has no {value}: remove the line to use the default of '{key}'"
    if value.lower() in _WORDS:
        return f"write {key} = {_WORDS[value.lower()]}"
    if _BARE.match(value) and '"' not in value and not value.startswith(("[", "{")):
        return f'text needs quotes: write {key} = "{value}"'
    return ""


def _number(key: str, value: str, found: re.Match[str]) -> str:
    """The fix for a number that TOML cannot read, such as `.5`, `5.`, `05` or `5%`."""
    if found["comma"]:
        items = value.replace(",", ", ")
        return f"write {key} = {value.replace(',', '.')} for a number, [{items}] for a list"
    try:
        number = float(value.rstrip("%"))
    except ValueError:
        return ""
    if found["percent"]:
        return f"write the percentage as a share: {key} = {number / 100:g}"
    return f"write {key} = {number if '.' in value else int(number)}"


def _quoted(item: str) -> str:
    if item[:1] in "\"'" or re.fullmatch(r"[-+]?\d+(\.\d+)?|true|false", item):
        return item
    return f'"{item}"'


def _unfinished(line: str, problem: str) -> str:
    bare = line.split("#")[0].strip()
    if bare.startswith("[") and " " in bare.strip("[] "):
        return "a name with spaces needs quotes; separate the parts of a name with dots"
    closing = "]]" if bare.startswith("[[") else "]"
    if bare.startswith("[") and not bare.endswith(closing):
        return f"a table header must end with {closing}: write {bare.rstrip(']')}{closing}"
    if (colon := _COLON.match(bare)) and "=" not in bare:
        return f"write {colon['key']} = {colon['value']}"
    if "Expected '='" in problem and (words := bare.split(maxsplit=1))[1:]:
        return f"= is missing: write {words[0]} = {words[1]}"
    if "Expected '='" in problem and bare:
        return f"= and a value are missing after '{bare}'"
    if "string" in problem or problem.startswith("Illegal character '\\n'"):
        return 'the text has no closing quote: write " after it'
    return ""
