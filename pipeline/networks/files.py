"""What a network in a file says of itself, read without torch: which one it is, its classes, the
input that it expects. `dreamreel train` writes such files; loading one runs no code.

It is a safetensors file whose metadata has, as JSON, `classes`, a list of names, and `network`, a
`Described`.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dreamreel.pipeline.config.values import is_network_file
from dreamreel.pipeline.contents import HEAD, SAFETENSORS, content_of
from dreamreel.pipeline.errors import UserError, expanded, missing, usable
from dreamreel.pipeline.opening import check_readable, misnamed

LONGEST_HEADER = 100 << 20  # bytes of a safetensors file's header, as its own reader takes
Three = tuple[float, float, float]
Width = Annotated[int, Field(ge=1, le=16384)]  # far above that of any layer


class Described(BaseModel):
    """How a network in a file is built and what it expects. `mean`, `std` and `swapped` are as in
    `Architecture`; `side` is that of the pictures that taught it, in pixels. A dreamnet has
    heads with so many `channels`, those of GoogLeNet's layers if they are None; it alone may have
    no classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    architecture: str
    version: int
    classes: int = Field(ge=0)
    mean: Three
    std: Three
    swapped: bool = False
    side: int = Field(ge=16, le=4096)
    channels: tuple[Width, Width, Width, Width] | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if self.classes == 0 and self.architecture != "dreamnet":
            raise ValueError(f"{self.architecture} has no classes")
        return self


def file_of(network: str) -> Path | None:
    """The file that the `network` lies in, if it is named by one; else None."""
    return expanded(network) if is_network_file(network) else None


def described(path: Path) -> Described:
    """What the network in the file `path` says of itself. Raises UserError if there is no such
    file, or if it does not tell which network it is."""
    told = metadata_of(path).get("network")
    if told is None:
        raise UserError(
            f"{path} does not tell which network it is; name that, and give the file as weights: "
            f"--network NAME --weights {path}"
        )
    try:
        found = Described.model_validate_json(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise UserError(
            f"{path} describes its network in a way that is not known ({where}: {first['msg']}); a "
            "newer Dreamreel may have made it"
        ) from error
    if 0 in found.std:
        raise UserError(f"{path} describes its network wrongly: std is {found.std}")
    return found


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of the safetensors file `path`. Raises UserError if it is none."""
    with usable(path):
        if not path.exists():
            raise missing(path, "network file")
    check_readable(path)
    with path.open("rb") as file:
        if content_of(file.read(HEAD)) is not SAFETENSORS:
            told = misnamed(path, "a network", ())
            raise UserError(told or f"{path} is not a safetensors file, as dreamreel train writes")
        file.seek(0)
        header = file.read(min(int.from_bytes(file.read(8), "little"), LONGEST_HEADER))
    try:
        found = json.loads(header).get("__metadata__", {})
        return {str(name): str(value) for name, value in found.items()}
    except (AttributeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a network: its header is damaged") from error
