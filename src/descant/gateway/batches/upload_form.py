"""A caller's ``multipart/form-data`` → the upstream's, piece by piece as it arrives; RFC 7578."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from descant.gateway.batches.line_check import LineCheck
from descant.schema.errors import InputError

PURPOSE = "batch"
_PASSED_ON = frozenset({"expires_after[anchor]", "expires_after[seconds]"})
_MOST_FIELD_BYTES = 1024
_MOST_HEADER_BYTES = 8192
_LONGEST_FILENAME = 150
_UNUSABLE = re.compile(r"[^\w. ()+@-]", re.ASCII)


@dataclass
class _Part:
    name: str = ""
    filename: str | None = None
    header: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    disposition: bytes = b""
    num_header_bytes: int = 0
    value: bytearray = field(default_factory=bytearray)


class UploadForm:
    """Reads one form and writes another: the purpose, the file under a marked name, the rest.

    Raises:
        InputError: the content type is not ``multipart/form-data`` with a boundary.
    """

    def __init__(self, content_type: str, mark: str, lines: LineCheck):
        self.boundary = secrets.token_hex(16)
        self._mark = mark
        self._lines = lines
        self._part = _Part()
        self._out = bytearray()
        self._fields: dict[str, str] = {}
        self._has_file = self._is_complete = False
        self._parser = self._parse(content_type)

    def feed(self, data: bytes) -> bytes:
        """Return what the upstream is sent for the next piece of the body.

        Raises:
            InputError: it is no form, or one that is not wanted.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from error
        return self._taken()

    def finish(self) -> bytes:
        """Return the end of what the upstream is sent.

        Raises:
            InputError: the form has no file, ends early, or is not for batches.
        """
        if not self._is_complete:
            raise _malformed("it ends early")
        if not self._has_file:
            raise InputError("The form has no file.", field="file")
        purpose = self._fields.pop("purpose", None)
        if purpose != PURPOSE:
            raise InputError(
                f"The purpose {purpose!r} is not known here.",
                field="purpose",
                remedy=f"Use {PURPOSE!r}.",
            )
        for name, value in self._fields.items():
            self._write_field(name, value)
        self._write(f"--{self.boundary}--\r\n")
        return self._taken()

    def _taken(self) -> bytes:
        taken = bytes(self._out)
        self._out.clear()
        return taken

    def _parse(self, content_type: str) -> MultipartParser:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise InputError(
                "The content type is not multipart/form-data with a boundary.",
                remedy="Send the file as a form with the fields file and purpose.",
            )
        try:
            return MultipartParser(
                options[b"boundary"],
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
        self._count(end - start)
        self._part.header += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._part.header_value += data[start:end]

    def _count(self, num_bytes: int) -> None:
        self._part.num_header_bytes += num_bytes
        if self._part.num_header_bytes > _MOST_HEADER_BYTES:
            raise _malformed("the head of a part does not end")

    def _end_header(self) -> None:
        part = self._part
        if bytes(part.header).lower() == b"content-disposition":
            part.disposition = bytes(part.header_value)
        part.header.clear()
        part.header_value.clear()

    def _end_headers(self) -> None:
        part = self._part
        _, options = parse_options_header(part.disposition)
        part.name = options.get(b"name", b"").decode(errors="replace")
        if part.name != "file":
            if part.name != "purpose" and part.name not in _PASSED_ON:
                raise InputError(f"Unknown field {part.name[:64]!r}.", field="file")
            return
        if self._has_file:
            raise InputError("The form has two files.", field="file", remedy="Send one at a time.")
        self._has_file = True
        self._write_field("purpose", PURPOSE)
        self._begin_file(options.get(b"filename", b"").decode(errors="replace"))

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.name == "file":
            self._out += self._lines.feed(data[start:end])
            return
        part.value += data[start:end]
        if len(part.value) > _MOST_FIELD_BYTES:
            raise InputError("A field of the form is too long.", field=part.name)

    def _end_part(self) -> None:
        part = self._part
        if part.name == "file":
            self._out += self._lines.end() + b"\r\n"
        else:
            self._fields[part.name] = part.value.decode(errors="replace")

    def _end(self) -> None:
        self._is_complete = True

    def _begin_file(self, filename: str) -> None:
        # Lists are told apart by the mark; what follows it is the caller's.
        shown = _UNUSABLE.sub("_", filename)[-_LONGEST_FILENAME:] or "upload.jsonl"
        self._write(
            f'--{self.boundary}\r\ncontent-disposition: form-data; name="file"; '
            f'filename="{self._mark}.{shown}"\r\ncontent-type: application/jsonl\r\n\r\n'
        )

    def _write_field(self, name: str, value: str) -> None:
        self._write(
            f'--{self.boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        )

    def _write(self, text: str) -> None:
        self._out += text.encode()


def _malformed(reason: str) -> InputError:
    return InputError(f"The body is not a whole multipart form: {reason}.", field="file")
