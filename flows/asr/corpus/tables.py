"""Tables of text, a header and a row a line: metadata.csv, metadata.tsv, the lists of Common Voice.

The parsers are our own, because no clip may be lost or keep half of its words: pandas 3.1 fills up a row that a line
feed broke and takes its tail for another row, and an unclosed quotation mark swallows the rows below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "pipes"}
BROKEN_ROW, TOO_FEW_VALUES, TOO_MANY_VALUES = (
    "broken by a line feed",
    "fewer values than columns",
    "more values than columns",
)
_CELL = re.compile(r'(?:"(?P<quoted>(?:[^"]++|"")*+)(?P<closed>"?))?+(?P<bare>[^,\n]*+)(?P<end>[,\n]|\Z)')
_QUOTED = re.compile(r'"((?:[^"]++|"")*+)"')


@dataclass(frozen=True)
class Table:
    """Column names, and for each row its cells by column and its problem, if it has one."""

    columns: tuple[str, ...]
    rows: list[tuple[dict[str, Any], str | None]]


def normalize_newlines(text: str) -> str:
    r"""Text with the line ends of Unix, from Windows (also doubled: \r\r\n) or an old Mac."""
    text = re.sub(r"\r+\n", "\n", text)
    return text if "\n" in text else text.replace("\r", "\n")


def find_separator(text: str, column: str, expected: str) -> str:
    """The separator of the header's columns: the expected one, unless only another one separates `column`."""
    header = text.lstrip().partition("\n")[0]
    candidates = (
        mark for mark in (expected, *SEPARATORS) if column in [cell.strip(' "') for cell in header.split(mark)]
    )
    return next(candidates, expected)


def split_tabs(text: str) -> Iterator[list[str]]:
    """The cells of each line that is not blank; quotation marks do not quote."""
    return (line.split("\t") for line in text.split("\n") if line.strip())


def unquote(cell: str) -> str:
    """A cell that is quoted as a whole, as pandas writes it, without the quotes; any other cell unchanged.

    >>> unquote('"Hon sade ""hej""."'), unquote('"Hej", sade hon.')
    ('Hon sade "hej".', '"Hej", sade hon.')
    """
    match = _QUOTED.fullmatch(cell)
    return match[1].replace('""', '"') if match else cell


def parse_csv(text: str, column: str, is_name: Callable[[str], bool]) -> Iterator[list[str]]:
    """The cells of each row of a CSV, whose quoted cells may hold commas and line feeds.

    Args:
        text: the whole table.
        column: the column of file names.
        is_name: whether a cell is a file name; used to recognise rows inside of quoted cells.

    Raises:
        ValueError: a quotation mark is never closed or swallows other rows, or a row has more values than columns. The
            message has one line and says where.
    """
    header: list[str] = []
    for record in _records(text):
        start, end = record[0].start(), record[-1].end("bare")
        if record[-1]["closed"] == "":
            raise ValueError(
                f"{_line_number(text, record[-1].start())}: the quotation mark that opens here is never closed"
            )
        if not text[start:end].strip():
            continue
        if column in header and "\n" in text[start:end]:
            quote = _find_swallowed_rows(text, record, header.index(column), len(header), is_name)
            if quote is not None:
                raise ValueError(
                    f"{_line_number(text, quote)}: the quotation mark that opens here is closed only rows later"
                )
        if header and len(record) > len(header):
            values = f"{len(record)} values for {len(header)} columns"
            raise ValueError(f"{_line_number(text, start)} has {values}; quote what holds a comma")
        cells = [(cell["quoted"] or "").replace('""', '"') + cell["bare"] for cell in record]
        header = header or cells
        yield cells


def _records(text: str) -> Iterator[list[re.Match[str]]]:
    """The cells of each row, as matches in the text."""
    record: list[re.Match[str]] = []
    for cell in _CELL.finditer(text):
        record.append(cell)
        if cell["end"] != ",":
            yield record
            record = []


def _line_number(text: str, position: int) -> str:
    number = 1 + text.count("\n", 0, position)
    return f"line {number}"


def _find_swallowed_rows(
    text: str, record: list[re.Match[str]], index: int, columns: int, is_name: Callable[[str], bool]
) -> int | None:
    """The position of the quoted cell that contains other rows of the table, or None.

    A line counts as a row if, ignoring quotes, it has a value for every column and a file name in column `index`, from
    the left or from the right. The line with the record's own name does not count.
    """
    start, end = record[0].start(), record[-1].end("bare")
    own_line = text.count("\n", 0, record[index].start()) if index < len(record) else None
    for number, line in enumerate(text[start:end].split("\n"), text.count("\n", 0, start)):
        cells = [cell.strip(' "') for cell in line.split(",")]
        has_name = len(cells) >= columns and (is_name(cells[index]) or is_name(cells[index - columns]))
        if number != own_line and has_name:
            return next(cell.start() for cell in record if "\n" in (cell["quoted"] or "") and cell.end() > start)
        start += len(line) + 1
    return None


def build_table(records: Iterable[list[str]], column: str, is_name: Callable[[str], bool]) -> Table:
    """The table of the records, the header first; a row without one value for every column gets a problem.

    A short line without a file name in `column` is not a row but part of a row that a line feed broke. It belongs to
    the row before it if that is incomplete. A single value between complete rows was broken off the last column of the
    row before or the first column of the row after: both get a problem, except the one whose file name it would be.
    """
    header, *lines = list(records) or [[]]
    name_index, width = header.index(column) if column in header else 0, len(header)
    rows: list[tuple[dict[str, Any], str | None]] = []
    values, lost_head = width, False  # values of the row before with its pieces; whether the next row lost its start
    for cells in lines:
        is_piece = len(cells) < width and not any(map(is_name, cells[name_index : name_index + 1]))
        if is_piece and (values < width or (len(cells) == 1 and (rows or name_index))):
            if rows and (values < width or name_index < width - 1):
                rows[-1] = rows[-1][0], BROKEN_ROW
            lost_head = values >= width and name_index > 0
            values += len(cells) - 1
            continue
        values = len(cells)
        problem = None
        if lost_head:
            problem = BROKEN_ROW
        elif values != width:
            problem = TOO_FEW_VALUES if values < width else TOO_MANY_VALUES
        record = dict(reversed([*zip(header, cells, strict=False)]))  # of two columns with the same name, the first
        rows.append((record, problem))
        lost_head = False
    return Table(tuple(header), rows + [({}, TOO_FEW_VALUES)] * lost_head)


def check_row_count(count: int, max_rows: int) -> None:
    """Raises ValueError if a table has more than `max_rows` rows."""
    if count > max_rows:
        raise ValueError(f"it has {count:,} rows; at most {max_rows:,} are read")


def text_as_bytes(column: Any) -> Any:
    """An Arrow column with its texts as bytes, so that invalid UTF-8 affects only its own cell."""
    import pyarrow as pa

    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return column.cast(pa.large_binary()) if is_text else column


def cell_text(value: Any) -> str:
    """A cell as text; "" for an empty cell, a null, NaN and a list.

    >>> cell_text(17.0), cell_text(None), cell_text(["hej"])
    ('17', '', '')
    """
    import pandas as pd

    if not pd.api.types.is_scalar(value) or pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column with an empty cell becomes float, and speaker 17.0 is 17
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "backslashreplace").decode()  # JSON can hold a lone surrogate, which cannot be written
