"""Uploads: a ``multipart/form-data`` body that is read as it comes, its files straight to disk."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.spool import Spool

#: Bytes. No field of a form but a file has a reason to be longer.
_LONGEST_FIELD = 1 << 16


@dataclass
class Upload:
    """One file of a form."""

    filename: str
    spool: Spool = field(default_factory=Spool)


@dataclass
class Form:
    """What a form held.

    :param whole: whether it came to its proper end.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)
    whole: bool = False

    def file(self, name: str) -> Upload:
        """Find a file.

        :raises ApiError: 400 where there is none, and for a form that broke off.
        """
        if not self.whole:
            raise bad_request("The multipart form is not well formed.")
        if name not in self.files:
            raise bad_request(f"'{name}' has to be a file of the form.", param=name)
        return self.files[name]


class _Part:
    """The part of a form that is being read."""

    def __init__(self) -> None:
        self.header_name = self.header_value = b""
        self.name = ""
        self.upload: Upload | None = None
        self.value = b""


class _Reader:
    """Puts a form together from what the parser finds."""

    def __init__(self) -> None:
        self.form = Form()
        self._part = _Part()

    def on_part_begin(self) -> None:
        self._part = _Part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def on_header_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        part = self._part
        if part.header_name.lower() == b"content-disposition":
            _, options = parse_options_header(part.header_value)
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                part.upload = Upload(options[b"filename"].decode("utf-8", "replace"))
        part.header_name = part.header_value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.upload is not None:
            self._part.upload.spool.write(data[start:end])
        elif len(self._part.value) < _LONGEST_FIELD:
            self._part.value += data[start:end]

    def on_part_end(self) -> None:
        part = self._part
        if part.upload is not None:
            self.form.files[part.name] = part.upload
        else:
            self.form.fields[part.name] = part.value.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.form.whole = True


def is_form(request: Request) -> bool:
    """Say whether a request brings a form that may hold files."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_form(request: Request) -> Form:
    """Read a form; what is not well formed leaves it not whole, and is read to its end all the same."""
    # Only here, so that a test without uploads can do without the library.
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    reader = _Reader()
    names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "part_end", "end")
    _, options = parse_options_header(request.headers["content-type"])
    parser: MultipartParser | None = None
    if options.get(b"boundary"):
        callbacks = {f"on_{name}": getattr(reader, f"on_{name}") for name in names}
        parser = MultipartParser(options[b"boundary"], callbacks)  # type: ignore[arg-type]
    async for block in request.stream():
        if parser is not None and block:
            try:
                parser.write(block)
            except FormParserError:
                parser = None
                reader.form.whole = False
    return reader.form
