"""JSON Lines in: one object a line, plain or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from lsr.corpus_bytes import LINE_LIMIT, Broken, CountedFile, lines, opened
from lsr.corpus_fields import BadRecord, type_name
from lsr.errors import DataError


class JsonLines:
    """The lines of one JSONL file, pipe or stream; blank lines count but are no records."""

    def __init__(
        self, name: str, source: Path | IO[bytes] | None, *, limit: int = LINE_LIMIT
    ) -> None:
        self.name = name
        self._source = source
        self._limit = limit
        self._file: CountedFile | None = None

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file so far, as they are stored (compressed)."""
        return 0 if self._file is None else self._file.taken

    def items(self) -> Iterator[tuple[int, bytes | Broken]]:
        """Yield the number and the bytes of each line that is not blank."""
        first = True
        with opened(self._source) as self._file:
            for number, line in lines(self._file, self.name, limit=self._limit):
                if isinstance(line, bytes):
                    if not line or line.isspace():
                        continue
                    if first:
                        _refuse_documents_over_lines(self.name, number, line.strip())
                first = False
                yield number, line

    def parse(self, payload: bytes) -> Mapping[str, Any]:
        """Return the object on a line, or raise BadRecord."""
        return parse_json(payload)


def parse_json(line: bytes) -> dict[str, Any]:
    """Return the JSON object on a line; BadRecord says what is wrong with it.

    >>> parse_json(b'{"_id": "d1"}')
    {'_id': 'd1'}
    """
    try:
        text = line.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise BadRecord(
            f"invalid UTF-8: byte {error.start} of the line is 0x{line[error.start]:02x}"
        ) from error
    except json.JSONDecodeError as error:
        raise BadRecord(f"malformed JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise BadRecord("malformed JSON: lists or objects are nested too deeply") from error
    except ValueError as error:
        raise BadRecord("malformed JSON: a number has too many digits") from error
    if not isinstance(value, dict):
        raise BadRecord(f"the line holds a JSON {type_name(value)}; an object is expected")
    return value


def _refuse_constant(name: str) -> float:
    raise BadRecord(f"malformed JSON: {name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _refuse_documents_over_lines(name: str, number: int, line: bytes) -> None:
    """Stop at once, under any policy, at a file that is JSON but not one object a line."""
    for start, program in ((b"[", ".[]"), (b"{", ".")):
        if line == start or (start == b"[" and line.startswith(b"[")):
            raise DataError(
                f"{name}:{number}: the file is one JSON value over many lines; "
                "one object on each line is expected",
                hint=f"jq -c '{program}' {name} > documents.jsonl",
            )
