"""The dashboard's files, read once, each ready to be sent as it is or compressed."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

FOLDER = Path(__file__).parent / "dashboard"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
START = "index.html"
GZIP_LEVEL = 9


@dataclass(frozen=True)
class Asset:
    """One file."""

    content: bytes
    media_type: str

    @cached_property
    def compressed(self) -> bytes:
        """The content in gzip's format: made when it is first asked for, as the charts take a third of a second."""
        return gzip.compress(self.content, GZIP_LEVEL, mtime=0)

    @cached_property
    def digest(self) -> str:
        """Short for the content."""
        return digest_of(self.content)


class Assets:
    """What the dashboard consists of. `version` stands for all of its files: their addresses carry it."""

    def __init__(self, files: Mapping[str, Asset], charts: Path, charts_version: str) -> None:
        self.version = digest_of(b"".join(name.encode() + file.content for name, file in sorted(files.items())))
        self.charts_version = charts_version
        self._files = files
        self._charts = charts

    @classmethod
    def load(cls) -> "Assets":
        """Read the package's files, and find the drawing library's script where its wheel has put it."""
        paths = [path for path in FOLDER.rglob("*") if path.suffix in TYPES]
        files = {path.relative_to(FOLDER).as_posix(): Asset(path.read_bytes(), TYPES[path.suffix]) for path in paths}
        plotly = distribution("plotly")
        return cls(files, Path(str(plotly.locate_file("plotly/package_data/plotly.min.js"))), plotly.version)

    def named(self, name: str) -> Asset | None:
        """Return the file of this name, if there is one."""
        return self._files.get(name)

    @cached_property
    def start(self) -> Asset:
        """The page, with the addresses of everything else filled in."""
        page = self._files[START].content
        for place, version in ((b"{version}", self.version), (b"{charts}", self.charts_version)):
            page = page.replace(place, version.encode())
        return Asset(page, TYPES[".html"])

    @cached_property
    def charts(self) -> Asset:
        """The drawing library, read when a chart is first drawn."""
        return Asset(self._charts.read_bytes(), TYPES[".js"])


def digest_of(content: bytes) -> str:
    """Return what stands for the content in an address or an entity tag."""
    return hashlib.sha256(content).hexdigest()[:16]
