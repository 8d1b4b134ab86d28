"""What the index and the metadata of a sheet tell of how it was made."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from dreamreel.pipeline.config.fields import Settings, entry_at, fields
from dreamreel.pipeline.jobs.job import Job, as_table


def about(command: str, job: Job, more: Mapping[str, Any]) -> dict[str, Any]:
    """What to tell of a sheet that `command` made: the source and the settings of `job`, as far as
    they are not the usual ones, and `more`."""
    table, usual = as_table(job)["settings"], Settings().model_dump(mode="json", exclude_none=True)
    changed = {
        name: entry_at(table, name)
        for name, _ in fields()
        if entry_at(table, name) != entry_at(usual, name)
    }
    told = {"dreamreel": version("dreamreel"), "command": command}
    if job.source is not None:
        told["source"] = str(job.source.path)
    return {**told, **more, "settings": changed}
