"""The section `embeddings` of the configuration: which vectors are made, and how. Null switches a part off."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from otto_gpu.events.settings import DELIMITER, SPLITS, Delimiter
from otto_gpu.needs import Need
from otto_gpu.schema import Name, Section, dump_with_removed, merge_packaged

ENCODER = "encoder"  # the name of its vectors, and of the family of features that they make
# the parts of the section: fields, stages (in this order) and modules of this package, see model.py
PARTS = ("word2vec", "factorization", "seq2seq", ENCODER, "given", "text")
TORCH = Need("the section embeddings", "torch", "embeddings")
NEEDS = {  # of the parts that compute with more than NumPy
    "word2vec": Need("embeddings.word2vec", "gensim", "embeddings"),
    "factorization": TORCH,
    "seq2seq": TORCH,
    ENCODER: Need("embeddings.encoder", "torch", "embeddings"),
    "text": Need("embeddings.text", "scikit-learn", "text", ("sklearn",)),
}


class Word2Vec(Section):
    """Skip-gram with negative sampling over the sessions (gensim)."""

    dim: int = Field(50, ge=2, le=1024, description="length of a vector")
    window: int = Field(3, ge=1, description="neighbours are at most so many events apart")
    epochs: int = Field(5, ge=1, description="how often the log is read")
    negative: int = Field(5, ge=1, description="noise items per pair")
    ns_exponent: float = Field(1.0, description="noise items are drawn by count to this power")
    sample: float = Field(1e-3, ge=0, lt=1, description="items above this share of the events are thinned out")
    lr: float = Field(0.1, gt=0, description="falls to almost zero by the end")


class Trained(Section):
    """What the models have in common that learn batch by batch (PyTorch)."""

    epochs: int = Field(5, ge=1, description="how often all examples are learnt")
    batch: int = Field(65_536, ge=2, description="examples at a time")
    min_batches: int = Field(16, ge=1, description="smaller batches where an epoch had fewer than so many")
    lr: float = Field(0.05, gt=0, description="falls to zero by the end")


class Factorization(Trained):
    """Pairs (item, item n later) of a session: the dot product of both vectors says whether they belong together."""

    steps: tuple[int, int] = Field((1, 1), description="[lo, hi]: n is lo to hi")
    types: list[str] | None = Field(None, min_length=1, description="only among events of these types; null: all of them")
    dim: int = Field(64, ge=2, le=1024, description="length of a vector")

    @model_validator(mode="after")
    def _forward(self):
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise ValueError(f"steps must be [lo, hi] with 1 <= lo <= hi, got {list(self.steps)}")
        return self


class Seq2Seq(Trained):
    """The last items of a visit and its time against the next item."""

    types: list[str] | None = Field(
        None, min_length=1, description="events of these types; null: those of targets.next_only, else the first type's"
    )
    length: int = Field(10, ge=1, le=100, description="how many items before the target")
    idle_hours: float = Field(2.0, gt=0, description="a pause that parts two visits")
    bucket_hours: int = Field(8, ge=1, description="the log's time in pieces of so many hours")
    dim: int = Field(128, ge=2, le=1024, description="length of a vector")
    epochs: int = Field(3, ge=1, description="how often all examples are learnt")
    batch: int = Field(8_192, ge=2, description="examples at a time")


class Encoder(Section):
    """A network that reads the history and points at the next item (PyTorch): vectors of items and of sessions."""

    dim: int = Field(64, ge=2, le=1024, description="length of a vector, a multiple of heads")
    layers: int = Field(1, ge=1, le=12, description="of self-attention")
    heads: int = Field(2, ge=1, description="of each layer")
    length: int = Field(30, ge=1, le=500, description="how many of a session's newest events are read")
    dropout: float = Field(0.4, ge=0, lt=1, description="share of the values that training leaves out at random")
    lr: float = Field(0.01, gt=0, description="rises at first, then falls to zero by the end")
    batch: int = Field(64, ge=2, description="sessions at a time")
    epochs: int = Field(10, ge=1, description="at most")
    events: int = Field(1_000_000, ge=1, description="read in all epochs together; a large log is read at least once")
    days: float | None = Field(None, gt=0, description="only the last days of what is known; null: all of it")
    negatives: int = Field(4_096, ge=1, description="items that compete with the next one, or all if there are fewer")
    negatives_exponent: float = Field(0.75, ge=0, description="negatives are drawn by count to this power")

    @model_validator(mode="after")
    def _heads_fit(self):
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, got {self.dim} and {self.heads}")
        return self


FACTORIZATIONS = {
    "factorization_1": Factorization(),
    "factorization_1_5": Factorization(steps=(1, 5), epochs=3),
    "factorization_bought_1_9": Factorization(steps=(1, 9), types=["carts", "orders"]),
}


def _of_periods(*names: str) -> list[str]:
    return [f"embeddings/{split}/{name}.npy" for split in SPLITS for name in names]


class Given(Section):
    """The user's own vectors, a row an item: an array (.npy) and the ids of its rows, or a table (CSV, Parquet) with the ids
    and either one column of lists or a column of numbers per dimension."""

    file: str = Field(min_length=1, description="its name in the data folder (beside the log, where that is one file)")
    id: str | None = Field(None, description="the column that names the item, as the log does; null: the first one")
    ids: str | None = Field(
        None, description="for .npy: the file that names the items of the rows, in their order: .npy, CSV or Parquet"
    )
    delimiter: Delimiter = Field(None, description=DELIMITER)

    @model_validator(mode="after")
    def _ids_of_rows(self):
        array = self.file.lower().endswith(".npy")
        if array and self.ids is None:
            raise ValueError("an array does not say whose its rows are: name the file of their items under ids")
        if not array and self.ids is not None:
            raise ValueError("ids names the items of an array's rows: it goes with a file that ends in .npy, and with no other")
        return self

    @property
    def files(self) -> list[str]:
        return [self.file, *([self.ids] if self.ids is not None else [])]


class Text(Section):
    """Vectors of what is written about an item: hashed TF-IDF, and of it the strongest directions (truncated SVD); by
    scikit-learn, with nothing to download."""

    columns: list[str] = Field(min_length=1, description="the items' columns of kind text, read as one text")
    dim: int = Field(64, ge=2, le=1024, description="length of a vector")
    tokens: Literal["words", "characters"] = Field(
        "words", description="characters: within words, for languages that set no spaces or compose long words"
    )
    ngrams: tuple[int, int] = Field((1, 1), description="[lo, hi]: lo to hi tokens that stand side by side make a term")
    common: float = Field(
        0.02,
        gt=0,
        le=1,
        description="terms in more than this share of the texts, and in more than 100, are left out; 1: none are",
    )
    buckets: int = Field(1 << 18, ge=16, le=1 << 24, description="terms are told apart by a hash of so many values")
    iterations: int = Field(5, ge=1, le=100, description="of the SVD: more come nearer to the exact one")

    @model_validator(mode="after")
    def _forward(self):
        if not 1 <= self.ngrams[0] <= self.ngrams[1] <= 10:
            raise ValueError(f"ngrams must be [lo, hi] with 1 <= lo <= hi <= 10, got {list(self.ngrams)}")
        if self.buckets <= self.dim:
            raise ValueError(f"buckets must be above dim, got {self.buckets} and {self.dim}")
        return self


class EmbeddingsConfig(Section):
    """Vectors of items. Only those are made that features or candidates use; null leaves a part out."""

    word2vec: Word2Vec | None = Word2Vec()
    factorization: dict[Name, Factorization] = Field(
        FACTORIZATIONS,
        description="changes to the three that are there, by name: fields to change, a whole new one, or null to leave it out; "
        "{} alone leaves them as they are, null leaves all of them out",
    )
    seq2seq: Seq2Seq | None = Seq2Seq()
    encoder: Encoder | None = Encoder()
    given: dict[Name, Given] = Field({}, description="the user's own vectors, by name: a file, or settings that name one")
    text: dict[Name, Text] = Field({}, description="vectors of the items' texts, by name")
    held_out: float = Field(0.02, ge=0, lt=1, description="share of the sessions kept out of training, for the AUC")
    seed: int = Field(42, ge=0, description="of what training draws")

    @field_validator("factorization", mode="before")
    @classmethod
    def _merge(cls, given):
        return {} if given is None else merge_packaged(FACTORIZATIONS, given)

    @field_validator("given", "text", mode="before")
    @classmethod
    def _files(cls, given):
        """A file's name stands for settings that name it; null for none."""
        given = {} if given is None else given
        return {n: {"file": g} if isinstance(g, str) else g for n, g in given.items()} if isinstance(given, dict) else given

    @field_serializer("factorization", mode="wrap")
    def _dump(self, factorization, dump):
        return dump_with_removed(FACTORIZATIONS, dump(factorization))

    @model_validator(mode="after")
    def _names(self):
        taken = dict.fromkeys(("word2vec", "seq2seq", ENCODER))
        for part in ("factorization", "given", "text"):
            for name in getattr(self, part):
                # encoder.sessions too is a file of the encoder's
                if name in taken or name.split(".")[0] in ("word2vec", "seq2seq", ENCODER):
                    raise ValueError(f"{part}: {name!r} is the name of another model")
                if part != "factorization" and name.endswith((".sessions", ".weights")):
                    raise ValueError(f"{part}: no name may end as {name!r} does, which would be a file of another model")
                taken[name] = None
        return self

    def by_part(self) -> dict[str, dict[str, Section]]:
        """{part: {name of vectors: the settings behind them}}, in the order of the stages; {} for a part that is off."""
        found = {part: getattr(self, part) for part in PARTS}
        return {part: s if isinstance(s, dict) else {} if s is None else {part: s} for part, s in found.items()}

    def parts(self) -> dict[str, Section]:
        """The settings behind each name, in the order of the stages."""
        return {name: settings for named in self.by_part().values() for name, settings in named.items()}

    @property
    def known(self) -> list[str]:
        """The names of all vectors, in the order of their stages."""
        return list(self.parts())

    @property
    def names(self) -> list[str]:
        """`known` without the encoder's, whose vectors are of sessions too."""
        return [name for name in self.known if name != ENCODER]

    @property
    def files(self) -> tuple[str, ...]:
        """The files of given vectors, by their names in the data folder."""
        return tuple(file for given in self.given.values() for file in given.files)

    def only(self, names: set[str]) -> EmbeddingsConfig:
        """The same without the vectors that are not among the names."""
        kept = {part: {n: s for n, s in named.items() if n in names} for part, named in self.by_part().items()}
        return self.model_copy(
            update={part: one if isinstance(getattr(self, part), dict) else one.get(part) for part, one in kept.items()}
        )

    def outputs(self) -> dict[str, tuple[str, ...]]:
        """{stage: what it writes below the run directory}, in the order of the stages; nothing where a part is off."""
        files = {p: [f"embeddings/{n}.json" for n in named] + _of_periods(*named) for p, named in self.by_part().items()}
        if self.encoder:
            files[ENCODER] += _of_periods(f"{ENCODER}.sessions")
            files[ENCODER] += [f"embeddings/{split}/{ENCODER}.weights.npz" for split in SPLITS]
        return {part: tuple(paths) for part, paths in files.items()}
