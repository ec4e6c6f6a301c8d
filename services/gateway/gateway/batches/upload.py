"""An upload as it arrives: a form in pieces, of which the file goes to the object store as it comes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from common.errors import InvalidRequest
from gateway.batches.files import Draft

MOST_FIELDS = 16
LARGEST_FIELD = 1024
FORM_OVERHEAD = 64 * 1024
"""Bytes of a form beside its file."""


@dataclass
class Form:
    """The fields of a form, and whether its file came."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


def boundary_of(content_type: str) -> str:
    """Return the form's boundary; raise `InvalidRequest` for what is no such form."""
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequest("send the file as multipart/form-data, with the fields 'purpose' and 'file'")
    return str(options["boundary"])


async def receive(body: AsyncIterator[bytes], boundary: str, draft: Draft) -> Form:
    """Write the file into the draft and return the form's fields; raise `InvalidRequest` or `TooLarge`."""
    form, reader = Form(), _Reader(draft)
    try:
        with PushMultipartParser(boundary, max_segment_count=MOST_FIELDS, strict=True) as parser:
            async for piece in body:
                for event in parser.parse(piece) if piece else ():
                    await reader.take(event, form)
    except MultipartError as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from error
    if form.filename is None:
        raise InvalidRequest("file: it is missing", param="file")
    return form


class _Reader:
    """Follows the parser from part to part."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._name = ""
        self._value = b""

    async def take(self, event: MultipartSegment | bytes | bytearray | None, form: Form) -> None:
        """Take the beginning of a part, a piece of one, or its end."""
        if isinstance(event, MultipartSegment):
            self._begin(event, form)
        elif event is None:
            self._end(form)
        elif self._name == "file":
            await self._draft.write(bytes(event))
        else:
            self._value += event
            if len(self._value) > LARGEST_FIELD:
                raise InvalidRequest(f"{self._name[:64]}: over {LARGEST_FIELD} bytes")

    def _begin(self, part: MultipartSegment, form: Form) -> None:
        self._name, self._value = part.name or "", b""
        if self._name == "file":
            if form.filename is not None:
                raise InvalidRequest("file: send one at a time", param="file")
            form.filename = part.filename or "upload"

    def _end(self, form: Form) -> None:
        if self._name != "file":
            form.fields[self._name] = self._value.decode(errors="replace")
