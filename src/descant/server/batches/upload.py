"""One file and a few short fields from a ``multipart/form-data`` body, read as it arrives.

The file's bytes go on as they come and are never held; fields are short. RFC 7578.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from descant.schema.errors import InputError

_MOST_FIELDS = 16
_MOST_FIELD_BYTES = 1024


@dataclass(frozen=True)
class Form:
    """What came beside the bytes of the file."""

    filename: str
    fields: dict[str, str]


@dataclass
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class Upload:
    """Takes the body in pieces; the part called ``file`` goes to `write`.

    Raises:
        InputError: the content type is not ``multipart/form-data`` with a boundary.
    """

    def __init__(self, content_type: str, write: Callable[[bytes], None]):
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InputError(
                "The content type is not multipart/form-data with a boundary.",
                remedy="Send the file as a form with the fields file and purpose.",
            )
        self._write = write
        self._part = _Part()
        self._filename: str | None = None
        self._fields: dict[str, str] = {}
        self._is_complete = False
        self._parser = self._parse(options[b"boundary"])

    def feed(self, data: bytes) -> None:
        """Read the next piece of the body.

        Raises:
            InputError: it is not a form, has two files, or a field is too long.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def finish(self) -> Form:
        """Return what came beside the file, once the body has ended.

        Raises:
            InputError: the form has no file or ends early.
        """
        if not self._is_complete:
            raise _malformed("it ends early")
        if self._filename is None:
            raise InputError("The form has no file.", field="file")
        return Form(self._filename, self._fields)

    def _parse(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._read_header_name,
                    "on_header_value": self._read_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._read_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def _begin_part(self) -> None:
        self._part = _Part()

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        name = part.header_name.decode("latin-1").lower()
        part.headers[name] = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._part.headers.get("content-disposition", b""))
        self._part.name = _text(options.get(b"name", b""))
        if self._part.name != "file":
            return
        if self._filename is not None:
            raise InputError("The form has two files.", field="file", remedy="Send one at a time.")
        self._filename = _text(options.get(b"filename", b""))

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.name == "file":
            self._write(data[start:end])
            return
        part.value += data[start:end]
        if len(part.value) > _MOST_FIELD_BYTES or len(self._fields) >= _MOST_FIELDS:
            raise InputError("The form has too many fields, or too long ones.", field=part.name)

    def _end_part(self) -> None:
        if self._part.name != "file":
            self._fields[self._part.name] = _text(bytes(self._part.value))

    def _end(self) -> None:
        self._is_complete = True


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _malformed(reason: str) -> InputError:
    return InputError(f"The body is not a whole multipart form: {reason}.", field="file")
