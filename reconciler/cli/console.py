"""The console: colours, tables, and markup, with every text escaped. It needs `rich`, which a plain line does not."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from reconciler.core.printable import printable, printable_lines

_WIDE = 400  # columns, where no terminal wraps: a line of a pipe is a record


class _Rendered:
    """A standard stream for the console's own output, whose colours are not escaped."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """A console that escapes every string, also in a cell of a table."""

    @property  # type: ignore[misc]  # ours is never set
    def file(self) -> IO[str]:
        """The current stream; output of the console is not escaped a second time."""
        stream = super().file
        if isinstance(stream, io.TextIOWrapper):
            return cast("IO[str]", _Rendered(stream))
        return stream

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text of a string with markup, escaped before it is measured."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments to write; those that did not come through `render_str` are escaped here."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable_lines(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _Console(
        stderr=stderr,
        highlight=False,
        emoji=False,
        soft_wrap=True,
        width=None if stream.isatty() else _WIDE,
    )


out = _console(stderr=False)
err = _console(stderr=True)
