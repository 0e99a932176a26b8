"""One run's directory: fingerprints, resume, atomic stages.

A stage writes into `.partial/<stage>-<fingerprint>/` and its outputs are moved to their places when all are whole; its
manifest comes last. A stage is done if its manifest carries the present fingerprint and every file that it names is
there in its size. A stage that was killed finds the parts that it finished in its partial folder and goes on from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu import __version__
from otto_gpu.errors import UserError
from otto_gpu.run.progress import Reporter

BUILDS = ("-cu12", "-cu13", "")  # of RAPIDS: for pip, and for conda
PACKAGES = (
    "numpy", "pandas", "pyarrow", "numba", "numba-cuda", "xgboost", "xgboost-cpu", "xgboost-cu12", "xgboost-cu13", "faiss-cpu",
    "faiss-gpu", "faiss-gpu-cuvs", "torch", "gensim", "treelite", "scikit-learn", "lightgbm",
    "cupy-cuda12x", "cupy-cuda13x", "cupy", *(n + b for n in ("rmm", "cudf", "cuml", "cuvs", "nvforest") for b in BUILDS),
)  # fmt: skip
DRIVER = Path("/proc/driver/nvidia/version")
OWN = ("config.yaml", "manifests", "run.log")  # what a run writes beside the outputs of its stages


@dataclass(frozen=True)
class Stage:
    """outputs: files and folders, relative to the run directory; settings: what of the configuration it depends on;
    run(folder): writes every output below the folder and returns facts for the manifest (rows and the like)."""

    name: str
    outputs: tuple[str, ...]
    settings: Callable[[], Any]
    run: Callable[[Path], dict]


@dataclass
class Run:
    directory: Path
    reporter: Reporter
    manifests: dict[str, dict] = field(default_factory=dict)

    def check(self, stages: list[Stage], data: Path | None, files: list[Path]) -> None:
        """UserError where the run would replace what is not its own: what somebody else put into the directory, or the log."""
        names = {*OWN, *(Path(output).parts[0] for stage in stages for output in stage.outputs)}
        there = [name for name in sorted(names) if os.path.lexists(self.directory / name)]
        ours = os.path.lexists(self.directory / ".lock") or (there and any(self.manifest(stage.name) for stage in stages))
        place = self.directory.resolve()
        inside = {file.relative_to(place).parts[0] for f in files if (file := f.resolve()).is_relative_to(place)}
        if there and not ours:
            told = f"holds {there[0]}, which no run wrote and this one would replace"
        elif (data is not None and data.resolve() == place) or names & inside:
            told = "the log lies among what a run writes"
        else:
            return
        raise UserError(f"run directory {self.directory}: {told}; choose another with --run-dir")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time works in a run directory."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / ".lock").open("w")
        except OSError as error:
            raise UserError(f"run directory {self.directory}: {error.strerror}; choose another with --run-dir") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"run directory {self.directory}: another process works in it; wait, or choose another --run-dir"
                ) from None
            _sweep(self.directory)
            yield

    def execute(self, stages: list[Stage], seed: Any, force_from: str | None = None, last: str | None = None) -> list[str]:
        """Runs what is not done, in order; returns the names of the stages that ran.

        seed: what the first stage depends on besides its settings (the data's identity). force_from: this stage and those
        after it run even if nothing changed. last: stop after this stage.
        """
        ran = []
        after = None  # the fingerprint of the stage before
        verify = not all(done for name, done in self.plan(stages, seed, force_from)[: _place(stages, last)])
        for stage, fingerprint, done in self._judged(stages, seed, force_from):
            manifest = self.manifest(stage.name)
            # what is built upon is looked at once; where there is nothing to do, it is not read
            if done and verify and (found := self.damaged(manifest)):
                self.reporter.say(f"{stage.name}: {found} is not what was written: made again")
                done = False
            if done:
                self.manifests[stage.name] = manifest
                self._remove_leftovers(stage.name)
                self.reporter.say(f"{stage.name}: unchanged", style="dim")
            else:
                self._run_stage(stage, fingerprint, after)
                ran.append(stage.name)
            after = fingerprint
            if stage.name == last:
                break
        return ran

    def plan(self, stages: list[Stage], seed: Any, force_from: str | None = None) -> list[tuple[str, bool]]:
        """(stage, whether it is done) for every stage; writes nothing."""
        return [(stage.name, done) for stage, _, done in self._judged(stages, seed, force_from)]

    def _judged(self, stages: list[Stage], seed: Any, force_from: str | None) -> Iterator[tuple[Stage, str, bool]]:
        forced, above = False, seed
        for stage in stages:
            forced = forced or stage.name == force_from
            above = _digest([stage.name, __version__, stage.settings(), above])
            manifest = self.manifest(stage.name)
            yield stage, above, bool(not forced and manifest and manifest["fingerprint"] == above and self._whole(manifest))

    def manifest(self, stage: str) -> dict | None:
        """None where there is none, or none that a stage wrote: somebody may have edited it."""
        try:
            found = json.loads(self._manifest_path(stage).read_text())
            files, sums = found["files"], found.get("sums", {})
            whole = isinstance(found["fingerprint"], str) and isinstance(found["versions"]["otto_gpu"], str)
            whole = whole and all(isinstance(n, int) for part in (files, sums) for n in part.values())
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return found if whole and all(_inside(name) for name in files) else None

    def damaged(self, manifest: dict, below: tuple[str, ...] = ("",)) -> Path | None:
        """The first file of a stage that no longer holds what the stage wrote; below: beginnings of names that matter."""
        for name, expected in manifest.get("sums", {}).items():
            if name.startswith(below) and checksum(self.directory / name) != expected:
                return self.directory / name
        return None

    def finished(self, last: str, below: tuple[str, ...] = ()) -> None:
        """UserError unless the stage `last` is done, and every one before it is the one that it was made from; below: the
        beginnings of names of files whose content is compared with what was written."""
        unfinished = f"{self.directory}: the run is not finished; run the pipeline on it to its end first"
        if not self.directory.is_dir():
            raise UserError(f"{self.directory}: no such run directory")
        made = [self.manifest(path.stem) for path in sorted((self.directory / "manifests").glob("*.json"))]
        by_fingerprint = {m["fingerprint"]: m for m in made if m}
        stage = self.manifest(last)
        while stage is not None and self._whole(stage):
            if stage["versions"]["otto_gpu"] != __version__:
                raise UserError(
                    f"{self.directory}: made by otto_gpu {stage['versions']['otto_gpu']}, this is {__version__}; "
                    "run the pipeline on it again"
                )
            if below and (found := self.damaged(stage, below)):
                raise UserError(f"{found}: not what the run wrote; run the pipeline on it again, with --from {stage['stage']}")
            if stage.get("after") is None:
                break
            stage = by_fingerprint.get(stage["after"])
        else:
            raise UserError(unfinished)

    def _manifest_path(self, stage: str) -> Path:
        return self.directory / "manifests" / f"{stage}.json"

    def _whole(self, manifest: dict) -> bool:
        for name, size in manifest["files"].items():
            path = self.directory / name
            if not path.is_file() or path.stat().st_size != size:
                return False
        return True

    def _remove_leftovers(self, stage: str, but: Path | None = None) -> None:
        """What killed runs left of a stage, under other settings or between its manifest and the end."""
        for leftover in list((self.directory / ".partial").glob(f"{stage}-*")):
            if leftover != but:
                shutil.rmtree(leftover)

    def _run_stage(self, stage: Stage, fingerprint: str, after: str | None) -> None:
        self.reporter.say(f"{stage.name}: started")
        folder = self.directory / ".partial" / f"{stage.name}-{fingerprint[:16]}"
        self._remove_leftovers(stage.name, folder)
        folder.mkdir(parents=True, exist_ok=True)
        reset_peak_memory()
        began = time.monotonic()
        facts = stage.run(folder)
        seconds = time.monotonic() - began
        _sweep(folder)  # a worker may have died, and the stage gone on
        before = self.manifest(stage.name) or {"files": {}}
        self._manifest_path(stage.name).unlink(missing_ok=True)
        for name in before["files"]:  # also what the stage does not make any more
            remove(self.directory / name)
        files, sums = {}, {}
        for name in stage.outputs:
            made, place = folder / name, self.directory / name
            remove(place)
            if not made.exists():  # an output that this run does not have, such as labels of a test file without any
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(made, place)
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file():
                    files[str(path.relative_to(self.directory))] = path.stat().st_size
                    sums[str(path.relative_to(self.directory))] = checksum(path)
        manifest = {
            "stage": stage.name, "fingerprint": fingerprint, "after": after, "settings": stage.settings(),
            "versions": versions(), **facts, "seconds": round(seconds, 3), "peak_memory_mb": peak_memory_mb(), "files": files,
            "sums": sums,
        }  # fmt: skip
        self._manifest_path(stage.name).parent.mkdir(exist_ok=True)
        write_atomically(self._manifest_path(stage.name), lambda p: p.write_text(json.dumps(manifest, indent=1, default=str)))
        shutil.rmtree(folder)
        self.manifests[stage.name] = manifest
        told = ", ".join(
            f"{v:,} {k}" if isinstance(v, int) else f"{k} {v}" for k, v in facts.items() if isinstance(v, (int, str))
        )
        self.reporter.say(
            f"{stage.name}: {seconds:.1f} s, peak {manifest['peak_memory_mb']:,} MB" + (f", {told}" if told else "")
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what is there at the end of the block takes the place of `path`, whole, or is gone with the error.

    It is the process's own: on a cluster, one that is given up may still write what another has taken over.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.writing")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """write(temporary path), then the rename: the file is whole or not there."""
    with replacing(path) as temporary:
        write(temporary)


def write_table(table: pa.Table, path: Path) -> None:
    """Parquet, zstd. Without dictionaries numbers are written in half the time, and take no more space."""
    words = [f.name for f in table.schema if not (pa.types.is_integer(f.type) or pa.types.is_floating(f.type))]
    pq.write_table(table, path, compression="zstd", use_dictionary=words)


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed left half-written."""
    for path in folder.rglob(".*.writing"):
        path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:  # of a link the link, not what it points to
        path.unlink(missing_ok=True)


def checksum(path: Path) -> int:
    """CRC-32 of a file: what a disk, a copy or an editor changed shows, at the speed of reading."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _inside(name: str) -> bool:
    """Whether a name in a manifest stays in the run directory: what it names may be removed."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _place(stages: list[Stage], last: str | None) -> int:
    """How many stages there are up to `last`."""
    return next((i + 1 for i, stage in enumerate(stages) if stage.name == last), len(stages))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def data_identity(files: list[Path]) -> list:
    """Names, sizes, times of change and both ends of the data files: a changed file is another one, quickly told."""
    result = []
    for path in files:
        with path.open("rb") as file:
            ends = hashlib.sha256(file.read(1 << 16))
            file.seek(max(path.stat().st_size - (1 << 16), 0))
            ends.update(file.read())
        result.append([path.name, path.stat().st_size, path.stat().st_mtime_ns, ends.hexdigest()])
    return result


def versions() -> dict[str, str]:
    """Versions of the packages that decide about a run's results, as far as they are installed."""
    found = {"otto_gpu": __version__} | {name: version for name in PACKAGES if (version := _version(name))}
    # a driver decides about nothing where nothing here computes by it
    if any(name.startswith("cupy") for name in found) and (driver := _driver()):
        found["NVIDIA driver"] = driver
    return found


@cache
def _version(package: str) -> str | None:
    """Looked for once: at each stage of a run it took as long as the shortest of them."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _driver() -> str | None:
    """Version of NVIDIA's driver, such as 580.65.06."""
    with suppress(OSError):
        found = re.search(r"\s(\d{3,}\.\d[\d.]*)", DRIVER.read_text())
        return found and found[1]
    return None


def reset_peak_memory() -> None:
    """Sets the process's high-water mark back, where the kernel allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> int:
    """The high-water mark of resident memory, in MB: since the last reset, or of the whole process where there is none."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
