from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from common.settings import SECRETS_DIR, ServiceSettings


class Example(ServiceSettings):
    database_url: SecretStr


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    return tmp_path


def test_what_is_secret_may_stand_in_a_file_of_its_name(folder: Path) -> None:
    (folder / "DATABASE_URL").write_text("postgresql+asyncpg://one\n")
    assert Example().database_url.get_secret_value() == "postgresql+asyncpg://one"


def test_a_file_as_kubernetes_mounts_it_is_a_link_into_the_folder(folder: Path) -> None:
    (folder / "..data").mkdir()
    (folder / "..data" / "DATABASE_URL").write_text("postgresql+asyncpg://one")
    (folder / "DATABASE_URL").symlink_to(Path("..data", "DATABASE_URL"))
    assert Example().database_url.get_secret_value() == "postgresql+asyncpg://one"


def test_a_variable_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "DATABASE_URL").write_text("postgresql+asyncpg://file")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://variable")
    assert Example().database_url.get_secret_value() == "postgresql+asyncpg://variable"


def test_what_is_missing_is_named_and_nothing_else_is_shown(folder: Path) -> None:
    (folder / "HOST").write_text("a-secret")
    with pytest.raises(ValidationError, match="database_url") as missing:
        Example()
    assert "a-secret" not in str(missing.value)
