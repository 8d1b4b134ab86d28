"""Tasks of a queue on a Ray cluster, whose machines share the folder of the batch by name."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.identity import versions
from dreamreel.pipeline.jobs.queue import LEASE, Outcome, Problem, Queue, Task
from dreamreel.pipeline.jobs.tasks import Split

DIED_AGAIN = 3  # times that Ray starts a task again whose worker or machine was lost
ANSWER_SECONDS = 10.0  # to wait for a cluster's answer; a round number


class RayEngine:
    """An engine on the Ray cluster at `address`, or on this machine if that is None and no cluster
    is found. It runs at most so many `workers` at a time, or as many as the cluster has room for,
    each with one GPU if there are any, else with so many `threads`.

    Raises UserError if there is no cluster, or if its machines have another Dreamreel than this.
    """

    def __init__(
        self,
        queue: Queue,
        split: Split,
        workers: int | None,
        threads: int,
        address: str | None,
        networks: Sequence[tuple[str, Path | None, str | None]] = (),
        lease: float = LEASE,
    ) -> None:
        self._ray = _import_ray()
        self._queue, self._split, self._threads, self._lease = queue, split, threads, lease
        self._running: dict[Any, Task] = {}
        self._stopping = False
        _connect(self._ray, address)
        resources = self._ray.cluster_resources()
        has_gpus = resources.get("GPU", 0) >= 1
        self._needs = {"num_gpus": 1} if has_gpus else {"num_cpus": threads}
        room = self._room(has_gpus)
        if room == 0:
            raise UserError(
                f"no machine of the cluster has {threads} cores for a job's threads; give fewer "
                "with --threads"
            )
        self.workers = min(workers or room, room)
        self._stop_file = queue.folder / "stop"
        self._stop_file.unlink(missing_ok=True)
        self._perform = self._ray.remote(_perform).options(
            **self._needs, max_retries=DIED_AGAIN, retry_exceptions=False
        )
        self._check_machines(networks)

    @property
    def free(self) -> int:
        """How many more tasks it can take now."""
        return 0 if self._stopping else self.workers - len(self._running)

    def start(self, task: Task) -> None:
        """Begin `task` somewhere on the cluster."""
        folder, split = str(self._queue.folder), list(self._split)
        ref = self._perform.remote(folder, task.model_dump(), split, self._threads, self._lease)
        self._running[ref] = task

    def outcomes(self) -> list[Outcome]:
        """How the tasks ended that ended since the last call."""
        if not self._running:
            return []
        waiting = list(self._running)
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._outcome(ref, self._running.pop(ref)) for ref in ready]

    def stop(self) -> None:
        """Have all tasks save and stop, and begin no other."""
        self._stopping = True
        self._stop_file.touch()
        for ref, task in self._running.items():
            if self._queue.claimed(task.id) is None:  # it has not begun
                self._ray.cancel(ref)

    def _room(self, has_gpus: bool) -> int:
        """How many tasks the machines of the cluster have room for at a time."""
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if has_gpus:
            return int(sum(node.get("GPU", 0) for node in alive))
        return int(sum(node.get("CPU", 0) // self._threads for node in alive))

    def kill(self) -> None:
        """End all tasks at once, and leave the cluster."""
        self._stopping = True
        for ref in self._running:
            with suppress(Exception):  # whatever Ray raises for a task that has just ended
                self._ray.cancel(ref, force=True)
        self._running.clear()
        self._stop_file.unlink(missing_ok=True)
        self._ray.shutdown()

    def _outcome(self, ref: Any, task: Task) -> Outcome:
        errors = self._ray.exceptions
        try:
            return Outcome.model_validate_json(self._ray.get(ref))
        except errors.TaskCancelledError:
            return Outcome(task=task, state="stopped")
        except (errors.RayError, errors.RayTaskError) as error:
            text = " ".join(str(error).split())[:300]
            self._queue.note(task.name, text)
            problem = Problem(fault="passing", message=f"its worker was lost: {text[:150]}")
            return Outcome(task=task, state="failed", error=problem)

    def _check_machines(self, networks: Sequence[tuple[str, Path | None, str | None]]) -> None:
        """Raise UserError unless each machine has this Dreamreel, these libraries, the folder of
        the batch, and the weights of `networks`, each with their digest here."""
        ours, folder = versions(), str(self._queue.folder)
        wanted = [(name, None if path is None else str(path)) for name, path, _ in networks]
        digests = [digest for *_, digest in networks]
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self._ray.remote(_look)
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        refs = {
            node["NodeManagerHostname"]: look.options(
                num_cpus=0, scheduling_strategy=strategy(node["NodeID"], soft=False)
            ).remote(folder, wanted)
            for node in alive
        }
        for host, ref in refs.items():
            try:
                theirs, sees, weights = self._ray.get(ref, timeout=ANSWER_SECONDS * 60)
            except Exception as error:
                why = " ".join(str(error).split())[:150]
                raise UserError(
                    f"{host} of the cluster cannot run Dreamreel ({why}); install it there"
                ) from error
            differ = [name for name in ours if theirs.get(name) != ours[name]]
            others = [f"{name} {theirs.get(name)}" for name in differ]
            if others:
                own = ", ".join(f"{name} {ours[name]}" for name in differ)
                raise UserError(
                    f"{host} of the cluster has {', '.join(others)}, and this machine has {own}; "
                    "install the same there"
                )
            if not sees:
                raise UserError(
                    f"{host} of the cluster does not see {folder}; the folder must be shared by "
                    "all machines, under the same name"
                )
            for (name, _), found, digest in zip(wanted, weights, digests, strict=True):
                if found != digest:
                    raise UserError(
                        f"{host} of the cluster has other weights of {name} than this machine "
                        f"({found}); give the same file to all with --weights"
                    )


def _perform(
    folder: str, task: dict[str, Any], split: list[Any], threads: int, lease: float
) -> str:
    """Do a task in a process of the cluster. What it returns is an `Outcome` as JSON."""
    import cv2

    from dreamreel.pipeline.jobs.preparation import keep_network
    from dreamreel.pipeline.jobs.tasks import perform

    cv2.setNumThreads(threads)
    keep_network()
    queue = Queue(Path(folder))
    stop = queue.folder / "stop"
    outcome = perform(queue, Task(**task), (split[0], split[1]), stop.exists, lease)
    return outcome.model_dump_json()


def _look(
    folder: str, networks: list[tuple[str, str | None]]
) -> tuple[dict[str, str], bool, list[str | None]]:
    """The versions on a machine of the cluster, whether it sees the queue in `folder`, and the
    digests of the weights of `networks`, or why they cannot be loaded."""
    from dreamreel.pipeline.networks.catalog import load_network

    digests: list[str | None] = []
    for name, path in networks:
        try:
            digests.append(load_network(name, None if path is None else Path(path), "cpu").digest)
        except UserError as error:
            digests.append(str(error))
    return versions(), (Path(folder) / "batch.json").is_file(), digests


def _connect(ray: Any, address: str | None) -> None:
    if address is not None:
        _check_address(address)
    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        if address is not None:
            raise UserError(_no_cluster(address)) from error
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (RuntimeError, ray.exceptions.RayError) as error:
        why = "it asks for a token (RAY_AUTH_MODE=token)" if "Token" in str(error) else str(error)
        raise UserError(f"the Ray cluster {address or ''} cannot be used: {why[:200]}") from error


def _check_address(address: str) -> None:
    """Raise UserError unless somebody answers at `address`: Ray itself asks for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if address == "auto":
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(_no_cluster(address)) from error


def _no_cluster(address: str) -> str:
    return f"there is no Ray cluster at {address}; ray start --head starts one and says its address"


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UserError(
            f"--engine ray needs Ray on {socket.gethostname()}: pip install 'dreamreel[cluster]'"
        ) from error
    return ray
