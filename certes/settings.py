"""Settings, read from the environment: `CERTES_KAFKA`, `CERTES_REGISTRY`, others as `CERTES_<GROUP>__<NAME>`."""

from __future__ import annotations

import base64
import socket
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from certes.errors import Fatal

DAY = 86_400.0


class Log(BaseModel):
    """The topic. Partitions cannot be changed later: ids and changelogs depend on their number."""

    topic: str = "certes.events"  #: its name; changelogs and the consumer group derive theirs from `app`
    config_topic: str = "certes.config"  #: the compacted topic of the configuration
    app: str = "certes"  #: Faust app id: consumer group and prefix of the changelog topics
    partitions: int = Field(12, ge=1, le=65_535)
    replication: int = Field(1, ge=1, le=15)
    retention_seconds: float = Field(14 * DAY, ge=60)  #: longer than the longest back-off


class Cluster(BaseModel):
    """What all processes of one deployment share."""

    key: SecretStr = SecretStr("")  #: 32 random bytes in base64; signs own records and internal calls

    @field_validator("key")
    @classmethod
    def _is_long_enough(cls, key: SecretStr) -> SecretStr:
        try:
            raw = base64.b64decode(key.get_secret_value(), validate=True)
        except ValueError:
            raise ValueError("must be base64, e.g. from: openssl rand -base64 32") from None
        if raw and len(raw) < 32:
            raise ValueError("must be at least 32 bytes, e.g. from: openssl rand -base64 32")
        return key


class Admin(BaseModel):
    key: SecretStr = SecretStr("")  #: an API key with all roles that needs no configuration; empty: none


class Worker(BaseModel):
    id: str = Field(default_factory=socket.gethostname)  #: stable per worker; names it in the configuration
    bind: str = "127.0.0.1"  #: address the Master API listens on
    port: int = Field(9601, ge=0, le=65_535)
    url: str = ""  #: how others reach it; default http://{bind}:{port}
    data_dir: Path = Path(".certes/workers/1")  #: the store; keep it, it spares a recovery from the changelog
    actors: int = Field(512, ge=1, le=100_000)  #: calls of handlers at the same time
    standby_replicas: int = Field(0, ge=0, le=5)  #: copies of each table partition on other workers
    commit_seconds: float = Field(0.5, gt=0, le=10)  #: how often the place in the log is committed
    session_seconds: float = Field(10.0, ge=1, le=60)  #: without heartbeat for so long a worker is taken for dead
    payload_bytes: int = Field(64 << 20, ge=0)  #: payloads kept in memory; others are read back from the log


class Gateway(BaseModel):
    id: str = Field(default_factory=lambda: f"gateway@{socket.gethostname()}")
    bind: str = "127.0.0.1"
    port: int = Field(9600, ge=0, le=65_535)
    admin_bind: str = "127.0.0.1"  #: internal listener: not for the internet
    admin_port: int = Field(0, ge=0, le=65_535)
    max_body_bytes: int = Field(1 << 20, ge=1024, le=1_900_000)
    max_lag_seconds: float = Field(2.0, gt=0)  #: further behind the log's end, the fold is not fed: 503


class Delivery(BaseModel):
    timeout_seconds: float = Field(15.0, gt=0, le=600)
    allow_private: list[str] = []  #: networks of one's own that handlers may live in, e.g. ["10.0.0.0/8"]
    response_bytes: int = Field(4096, ge=0, le=65_536)  #: how much of an answer is kept


class Schemas(BaseModel):
    domain: str = ""  #: one's own domain; informative
    wait_seconds: float = Field(60.0, ge=0)  #: how long an event waits for an unknown schema before it is rejected


class Settings(BaseSettings):
    """All settings. Secrets never print. Groups are plain models, so a test builds them directly."""

    model_config = SettingsConfigDict(
        env_prefix="CERTES_", env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True
    )

    kafka: str = "127.0.0.1:9092"
    registry: str = "http://127.0.0.1:8081"
    log: Log = Field(default_factory=Log)
    cluster: Cluster = Field(default_factory=Cluster)
    admin: Admin = Field(default_factory=Admin)
    worker: Worker = Field(default_factory=Worker)
    gateway: Gateway = Field(default_factory=Gateway)
    delivery: Delivery = Field(default_factory=Delivery)
    schemas: Schemas = Field(default_factory=Schemas)

    @classmethod
    def load(cls) -> Settings:
        """The settings of this process. Raises Fatal naming each variable that is wrong, never its value."""
        try:
            return cls()
        except ValidationError as error:
            wrong = (f"{_variable(*one['loc'])}: {one['msg']}" for one in error.errors(include_input=False))
            raise Fatal("; ".join(wrong)) from None
        except SettingsError as error:  # a group or list that is no JSON
            raise Fatal(f"a CERTES_ variable that must be JSON is none: {error}") from None

    @cached_property
    def cluster_key(self) -> bytes:
        return base64.b64decode(self.cluster.key.get_secret_value())


def _variable(*path: int | str) -> str:
    """The environment variable of a setting."""
    return f"CERTES_{'__'.join(map(str, path)).upper()}"
