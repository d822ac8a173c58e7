"""One real Kafka and one real schema registry for the whole test session, started when a test first asks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager

import pytest

from certes.errors import Fatal


@contextmanager
def served(server: AbstractAsyncContextManager[str]) -> Iterator[str]:
    """Runs a server for tests that have event loops of their own: this one's lives in another thread."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        try:
            address = thread.submit(runner.run, server.__aenter__()).result()
        except Fatal as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        try:
            yield address
        finally:
            thread.submit(runner.run, server.__aexit__(None, None, None)).result()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Kafka, "127.0.0.1:port"; CERTES_TEST_KAFKA names one that runs already."""
    if running := os.environ.get("CERTES_TEST_KAFKA"):
        yield running
        return
    from certes.dev.kafka import local_kafka

    with served(local_kafka(tmp_path_factory.mktemp("kafka"))) as address:
        yield address


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Confluent API of a real registry, ".../apis/ccompat/v7"; CERTES_TEST_REGISTRY names one that runs already."""
    if running := os.environ.get("CERTES_TEST_REGISTRY"):
        yield running
        return
    from certes.dev.registry import local_registry

    with served(local_registry(tmp_path_factory.mktemp("registry"))) as url:
        yield url
