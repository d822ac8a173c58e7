"""A source: the name of a configured sender, how its calls are verified, and which event URI they have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Hmac(BaseModel):
    """A generic HMAC scheme, as data. `signed` says which bytes: `{body}`, `{timestamp}.{body}`, `{id}.{timestamp}.{body}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header: str
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    secret_encoding: Literal["utf8", "base64", "hex"] = "utf8"  # noqa: S105 - the name of an encoding
    prefix: str = ""
    delimiter: str = ""
    id_header: str | None = None
    timestamp_header: str | None = None
    tolerance_seconds: float | None = 300.0
    signed: str = "{body}"


class Source(BaseModel):
    """A configured sender: how its calls are verified, and which event URI they have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scheme: Literal["github", "hmac", "standard", "none"]
    secrets: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field((), repr=False)
    uri: Annotated[str, Field(max_length=2048)]
    id_header: str | None = None
    hmac: Hmac | None = None
    schemas: Literal["optional", "required"] = "optional"
    description: Annotated[str, Field(max_length=4096)] = ""
