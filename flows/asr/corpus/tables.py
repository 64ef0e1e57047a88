"""Tables of text, a header and a row a line: metadata.csv, metadata.tsv, the lists of Common Voice.

The readers are our own, because no clip may vanish or keep half of its words. pandas 3.1 fills up a row that a line
feed broke and takes its tail for another, and a quotation mark that nobody closed takes in the rows below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "pipes"}
BROKEN, FEWER, MORE = "broken by a line feed", "fewer values than columns", "more values than columns"
_CELL = re.compile(r'(?:"(?P<quoted>(?:[^"]++|"")*+)(?P<closed>"?))?+(?P<bare>[^,\n]*+)(?P<end>[,\n]|\Z)')
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')


@dataclass(frozen=True)
class Table:
    """The names of the columns, and each row's cells by them with what is wrong with the row already."""

    columns: tuple[str, ...]
    rows: list[tuple[dict[str, Any], str | None]]


def unix(text: str) -> str:
    r"""Text with the line ends of Unix, be it from Windows, written twice over (\r\r\n) or from an old Mac."""
    text = re.sub(r"\r+\n", "\n", text)
    return text if "\n" in text else text.replace("\r", "\n")


def separator(text: str, column: str, usual: str) -> str:
    """What stands between the header's columns: the usual mark, unless only another one sets `column` apart."""
    header = text.lstrip().partition("\n")[0]
    marks = (mark for mark in (usual, *SEPARATORS) if column in [cell.strip(' "') for cell in header.split(mark)])
    return next(marks, usual)


def tabbed(text: str) -> Iterator[list[str]]:
    """The cells of each line that is not blank, as they stand: a quotation mark quotes nothing."""
    return (line.split("\t") for line in text.split("\n") if line.strip())


def unquoted(cell: str) -> str:
    """A cell of which all is quoted, as pandas writes those with quotation marks; any other as it stands.

    >>> unquoted('"Hon sade ""hej""."'), unquoted('"Hej", sade hon.')
    ('Hon sade "hej".', '"Hej", sade hon.')
    """
    whole = _QUOTED.fullmatch(cell)
    return whole[1].replace('""', '"') if whole else cell


def commas(text: str, column: str, names: Callable[[str], bool]) -> Iterator[list[str]]:
    """The cells of each row of a CSV, whose quoted cells may hold commas and line feeds.

    `names` says whether a cell names what `column` is for: rows of the table are told by it within quoted cells.
    Raises ValueError with one line, which says where, for a quotation mark that nothing closes or that takes in other
    rows, and for a row of more values than columns.
    """
    header: list[str] = []
    for found in _records(text):
        start, end = found[0].start(), found[-1].end("bare")
        if found[-1]["closed"] == "":
            raise ValueError(f"{_line(text, found[-1].start())}: the quotation mark that opens here is never closed")
        if not text[start:end].strip():
            continue
        if column in header and "\n" in text[start:end]:
            opens = _takes_in(text, found, header.index(column), len(header), names)
            if opens is not None:
                raise ValueError(f"{_line(text, opens)}: the quotation mark that opens here is closed only rows later")
        if header and len(found) > len(header):
            values = f"{len(found)} values for {len(header)} columns"
            raise ValueError(f"{_line(text, start)} has {values}; quote what holds a comma")
        cells = [(cell["quoted"] or "").replace('""', '"') + cell["bare"] for cell in found]
        header = header or cells
        yield cells


def _records(text: str) -> Iterator[list[re.Match[str]]]:
    """The cells of each row, as they are found in the text."""
    record: list[re.Match[str]] = []
    for cell in _CELL.finditer(text):
        record.append(cell)
        if cell["end"] != ",":
            yield record
            record = []


def _line(text: str, at: int) -> str:
    number = 1 + text.count("\n", 0, at)
    return f"line {number}"


def _takes_in(text: str, found: list[re.Match[str]], at: int, columns: int, names: Callable[[str], bool]) -> int | None:
    """Where in the text the quoted cell starts that holds rows of the table; None where none of a row's cells does.

    A line is such a row if, whatever is quoted, it has a value for every column, and names something in the column
    `at`, counted from the left or from the right. The line that holds the row's own name is none.
    """
    start, end = found[0].start(), found[-1].end("bare")
    own = text.count("\n", 0, found[at].start()) if at < len(found) else None
    for number, line in enumerate(text[start:end].split("\n"), text.count("\n", 0, start)):
        cells = [cell.strip(' "') for cell in line.split(",")]
        if number != own and len(cells) >= columns and (names(cells[at]) or names(cells[at - columns])):
            return next(cell.start() for cell in found if "\n" in (cell["quoted"] or "") and cell.end() > start)
        start += len(line) + 1
    return None


def table(records: Iterable[list[str]], column: str, names: Callable[[str], bool]) -> Table:
    """The table of these rows, the header first; a row that has not one value for every column is told with why.

    A line that is short and names nothing in `column` (so say `names`) is no row but a piece of one that a line feed
    broke. It belongs to the row before it where that is not whole yet. A single value between whole rows was broken
    off the last column of the one before, or off the first column of the one after: both are told, but for the one
    that would have lost a piece of its name.
    """
    header, *others = list(records) or [[]]
    at, whole = header.index(column) if column in header else 0, len(header)
    rows: list[tuple[dict[str, Any], str | None]] = []
    values, is_head = whole, False  # of the row before, its pieces included; whether the next row lost its head
    for cells in others:
        is_piece = len(cells) < whole and not any(map(names, cells[at : at + 1]))
        if is_piece and (values < whole or (len(cells) == 1 and (rows or at))):
            if rows and (values < whole or at < whole - 1):
                rows[-1] = rows[-1][0], BROKEN
            is_head = values >= whole and at > 0
            values += len(cells) - 1
            continue
        values = len(cells)
        problem = BROKEN if is_head else FEWER if values < whole else MORE if values > whole else None
        named = dict(reversed([*zip(header, cells, strict=False)]))  # of two columns of one name the first
        rows.append((named, problem))
        is_head = False
    return Table(tuple(header), rows + [({}, FEWER)] * is_head)
