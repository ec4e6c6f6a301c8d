"""The dashboard's files: whole, cached by their version, under a policy that lets nothing else in."""

import gzip
import re
from pathlib import Path

import pytest
from services.gateway.tests.conftest import Gateway

from gateway.assets import FOLDER, TYPES, Assets

MODULES = sorted(FOLDER.rglob("*.js"))


def test_every_file_is_served_as_a_type_that_a_browser_believes() -> None:
    strange = [path.name for path in FOLDER.rglob("*") if path.is_file() and path.suffix not in TYPES]
    assert strange == []


def test_a_changed_file_changes_every_address(tmp_path: Path) -> None:
    assets = Assets.load()
    names = [path.relative_to(FOLDER).as_posix() for path in MODULES]
    files = {name: asset for name in names if (asset := assets.named(name))}
    less = {name: files[name] for name in names[1:]}
    assert Assets(files, tmp_path, "1").version != Assets(less, tmp_path, "1").version


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_module_imports_what_exists_and_writes_no_html(path: Path) -> None:
    text = path.read_text()
    for imported in re.findall(r"""(?:from|import)\s*\(?["'](\.[^"'`$]+)["']""", text):
        assert (path.parent / imported).resolve().is_file(), imported
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert unsafe not in text


def test_the_page_has_nothing_inline() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)


async def test_the_page_is_served_under_its_policy_and_asked_for_again(gateway: Gateway) -> None:
    page = await gateway.http.get("/", headers={"authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "{" not in page.text
    again = await gateway.http.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await gateway.http.head("/")).headers["etag"] == page.headers["etag"]


async def test_all_that_the_page_names_is_there_and_kept_for_ever(gateway: Gateway) -> None:
    page = await gateway.http.get("/")
    named = re.findall(r'"(/assets/[^"]+)"', page.text)
    assert len(named) > 4
    for path in named:
        answer = await gateway.http.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable", path


async def test_a_file_of_another_version_is_served_but_not_kept(gateway: Gateway) -> None:
    answer = await gateway.http.get("/assets/other/app.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert (await gateway.http.get("/assets/other/nothing.js")).status_code == 404
    assert (await gateway.http.get("/assets/other/..%2fassets.py")).status_code == 404


async def test_the_drawing_library_comes_compressed(gateway: Gateway) -> None:
    page = await gateway.http.get("/")
    [path] = re.findall(r'"(/assets/charts-[^"]+)"', page.text)
    plain = await gateway.http.get(path, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    async with gateway.http.stream("GET", path, headers={"accept-encoding": "gzip"}) as small:
        content = b"".join([piece async for piece in small.aiter_raw()])
    assert small.headers["content-encoding"] == "gzip"
    assert gzip.decompress(content) == plain.content
    print(f"{len(plain.content)} bytes, compressed {len(content)}")
    assert len(content) < len(plain.content) / 3
