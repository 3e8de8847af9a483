from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.celery.brokers import RABBITMQ, rabbitmq_server
from tests.servers import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("celery", reason="celery is not installed")


@pytest.fixture(scope="package")
def redis_url() -> Iterator[str]:
    """A real Redis."""
    with needed.redis_url() as url:
        yield url


@pytest.fixture(scope="package")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real RabbitMQ."""
    if not Path(RABBITMQ).exists():
        pytest.skip("rabbitmq-server is not installed (Debian's package rabbitmq-server)")
    with rabbitmq_server(tmp_path_factory.mktemp("rabbitmq")) as port:
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
