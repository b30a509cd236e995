"""The image, built once for all tests that need it."""

from __future__ import annotations

import pytest

from tests.packages.container import CONTEXT, Image, build
from tests.packages.dockerfile import Dockerfile


@pytest.fixture(scope="session")
def dockerfile() -> Dockerfile:
    return Dockerfile((CONTEXT / "docs" / "operations" / "Dockerfile").read_text())


@pytest.fixture(scope="session")
def image(dockerfile: Dockerfile, tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("image") / "root", dockerfile)
