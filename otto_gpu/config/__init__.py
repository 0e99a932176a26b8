"""The configuration of a run: the sections put together, YAML files, and changes from the command line.

Each section is declared beside the code that it configures; stages are handed their sections and import none of this.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.settings import MatricesConfig
from otto_gpu.embeddings.settings import ENCODER, EmbeddingsConfig
from otto_gpu.errors import UserError
from otto_gpu.events.log import TYPES
from otto_gpu.events.settings import GENERATED_ITEMS, MOST_BYTES, EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.families import needing
from otto_gpu.outcome.settings import SubmissionConfig
from otto_gpu.ranking.settings import BlendConfig, RankingConfig
from otto_gpu.schema import Section, as_user_error, did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]
# an installed package has them within (setup.py), a checkout beside it
FOLDER = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"
MEMORY_GB = 8.0  # what the defaults of CHUNKS are made for
CHUNKS = {
    "events": ("chunk_bytes",),
    "candidates": ("chunk_sessions",),
    "features": ("chunk_rows",),
    "ranking": ("batch_rows", "kept_mb"),
}
DEMO = {"name": "demo", "events": {"format": "synthetic"}}


class Config(Section):
    """A run: where the log is, who computes, and a section for each part of the way."""

    name: str = Field("run", pattern=r"^[\w-][\w.-]*$", description="names the run directory: runs/<name>")
    data: Path | None = Field(None, description="file, folder or glob with the log; --data goes before it")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: cuda where all that it takes is there, else cpu; cuda: an error where it is not"
    )
    threads: int | None = Field(
        None, ge=1, description="of the kernels, and of all models that are trained side by side; null: all cores"
    )
    memory_limit: float = Field(
        MEMORY_GB,
        ge=0.5,
        le=10_000,
        description="GB; the sizes of all chunks are in proportion to it, unless they are set to other than their defaults",
    )
    events: EventsConfig = EventsConfig()
    items: ItemsConfig | None = Field(None, description="attributes of the items; null: there are none")
    split: SplitConfig = SplitConfig()
    targets: TargetsConfig = TargetsConfig()
    matrices: MatricesConfig = MatricesConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    features: FeaturesConfig = FeaturesConfig()
    ranking: RankingConfig = RankingConfig()
    blend: BlendConfig = BlendConfig()
    submission: SubmissionConfig = SubmissionConfig()

    @model_validator(mode="after")
    def _fits_together(self):
        rules = self.matrices.rules
        attributes = self.attributes
        families, asked = self.features.families, self.candidates.needs
        wanted = [
            ("there is no matrix rule", rules, asked("matrices") | {"features.rules": self.features.rules or ()}),
            (
                "the section embeddings has no vectors", self.embeddings.known,
                asked("vectors") | {"features.families": [ENCODER] if needing(families, "encoder") else []},
            ),
            ("the section items has no column", attributes, asked("items")),
            ("events.context has no column", self.events.context, asked("context")),
        ]  # fmt: skip
        for missing, there, keys in wanted:
            for where, names in keys.items():
                for name in names:
                    if name not in there:
                        raise ValueError(f"{where}: {missing} {name!r}; {did_you_mean(name, there)}")
        kinds = set(attributes.values())
        lacks = {
            "vectors": "" if self.embeddings.names else "vectors, but the section embeddings has none",
            "items": "" if kinds - {"text"} else "the section items with a column that is a code, a number or a time",
            "context": "" if self.events.context else "columns in events.context",
        }
        for what, needed in lacks.items():
            for name in needing(families, what) if needed else ():
                raise ValueError(f"features.families: {name!r} needs {needed}")
        if self.submission.format == "wide" and len(self.targets.names) > 1:
            named = ", ".join(self.targets.names)
            raise ValueError(f"submission.format: wide holds one list a session, but targets.weights names {named}: name one")
        places = {f"{self.submission.prefix}{place}" for place in range(1, self.targets.k + 1)}
        session = self.events.columns.session_name
        if self.submission.format == "wide" and session in places:
            raise ValueError(f"submission.prefix: the column {session!r} would hold sessions and items; choose another one")
        for name, text in self.embeddings.text.items():
            for column in text.columns:
                if attributes.get(column) != "text":
                    texts = [n for n, kind in attributes.items() if kind == "text"]
                    told = (
                        did_you_mean(column, texts) if texts else "there are none: name the items' file and its columns there"
                    )
                    raise ValueError(f"embeddings.text.{name}: items.columns has no {column!r} of kind text; {told}")
        known = {*self.targets.types, *TYPES}
        used = dict.fromkeys(self.candidates.bought, "candidates.bought")
        used |= dict.fromkeys(filter(None, (self.events.types or {}).values()), "events.types")
        for name, pairs in self.embeddings.factorization.items():
            used |= dict.fromkeys(pairs.types or (), f"embeddings.factorization.{name}")
        if self.embeddings.seq2seq:
            used |= dict.fromkeys(self.embeddings.seq2seq.types or (), "embeddings.seq2seq")
        for name, rule in rules.items():
            named = (*(rule.left or ()), *(rule.right or ()), *(rule.weight.type_y or ()))
            used |= dict.fromkeys(named, f"matrices.rules.{name}")
        for name, where in used.items():
            if name not in known:
                raise ValueError(f"{where}: unknown type {name!r}; {did_you_mean(name, known)}")
        return self

    def sized(self) -> Config:
        """The same with its chunks as large as `memory_limit` allows."""
        sections = {}
        for name, sizes in CHUNKS.items():
            section = getattr(self, name)
            defaults = {size: type(section).model_fields[size].default for size in sizes}
            wanted = {
                s: max(int(d * self.memory_limit / MEMORY_GB), 1) for s, d in defaults.items() if getattr(section, s) == d
            }
            sections[name] = section.model_copy(update=wanted)
            if name == "events":
                sections[name] = sections[name].model_copy(
                    update={"chunk_bytes": min(max(sections[name].chunk_bytes, 1 << 10), MOST_BYTES)}
                )
        return self.model_copy(update=sections)

    @property
    def attributes(self) -> dict[str, str]:
        """{name: kind} of what is known of the items."""
        return self.items.columns if self.items else GENERATED_ITEMS.get(self.events.format, {})

    @property
    def vectors(self) -> set[str]:
        """The vectors that features or candidates use: no others are trained."""
        used = set(self.candidates.vectors)
        used |= set(self.embeddings.names) if needing(self.features.families, "vectors") else set()
        return used | ({ENCODER} if needing(self.features.families, "encoder") else set())


def load_config(source: str | Path | dict | None = None, changes: Iterable[str] = (), **more: Any) -> Config:
    """A validated Config from a YAML file, the name of one in configs/, or a dict; None is the demo.

    changes: `key=value` with dotted keys and YAML values, such as `ranking.folds=5`; more: top-level keys (None: as it is).
    Raises UserError in one line that names the key, and for an unknown key its nearest neighbour.
    """
    if source is None:
        values, where = dict(DEMO), "the demo"
    elif isinstance(source, dict):
        values, where = dict(source), "config"
    else:
        path = _find(Path(source))
        values, where = _read(path), str(path)
    for change in changes:
        _apply(values, change)
    values.update({k: v for k, v in more.items() if v is not None})
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise as_user_error(error, Config, where) from None


def known_configs() -> list[str]:
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if (path.parent == Path() or path.parts[:-1] == ("configs",)) and path.suffix in ("", ".yaml"):
        named = FOLDER / f"{path.stem}.yaml"
        if named.is_file():
            return named
    close = difflib.get_close_matches(path.stem, known_configs(), n=1, cutoff=0.6)
    told = "that is a folder; " if path.is_dir() else f"did you mean {close[0]!r}? " if close else ""
    names = ", ".join(known_configs()) or "none here"
    raise UserError(f"--config {path}: no such file; {told}names of the project's own configs: {names}")


def _read(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f":{place.line + 1}" if place else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    if not isinstance(values, dict | None):
        raise UserError(f"{path}: expected a mapping of sections, got {type(values).__name__}")
    return values or {}


def _apply(values: dict, change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise UserError(f"--set {change}: expected key=value, such as ranking.folds=5")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {change}: the value is not valid YAML") from None
    *path, last = key.split(".")
    place, default = values, Config().model_dump(mode="json")
    for part in path:
        default = default.get(part) if isinstance(default, dict) else None
        # what is not given starts from its default, so that a change of one key leaves its neighbours
        inner = default if place.get(part) is None else place[part]
        inner = {"auto": True} if (part, inner) == ("split", "auto") else inner  # the word in the section's place
        if inner is not None and not isinstance(inner, dict):
            raise UserError(f"--set {change}: {part!r} is not a section")
        place[part] = dict(inner or {})
        place = place[part]
    place[last] = value
