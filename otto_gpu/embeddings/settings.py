"""The section `embeddings` of the configuration: which vectors are learnt, and how. Null switches a part off."""

from __future__ import annotations

from pydantic import Field, field_serializer, field_validator, model_validator

from otto_gpu.events.settings import SPLITS
from otto_gpu.schema import Name, Section, changed, with_left_out

ENCODER = "encoder"  # the name of its vectors, and of the family of features that they make


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


class EmbeddingsConfig(Section):
    """Vectors that are learnt from the log. Only those are trained that features or candidates use; null leaves a part out."""

    word2vec: Word2Vec | None = Word2Vec()
    factorization: dict[Name, Factorization] = Field(
        FACTORIZATIONS,
        description="changes to the three that are there, by name: fields to change, a whole new one, or null to leave it out; "
        "{} alone leaves them as they are, null leaves all of them out",
    )
    seq2seq: Seq2Seq | None = Seq2Seq()
    encoder: Encoder | None = Encoder()
    held_out: float = Field(0.02, ge=0, lt=1, description="share of the sessions kept out of training, for the AUC")
    seed: int = Field(42, ge=0, description="of what training draws")

    @field_validator("factorization", mode="before")
    @classmethod
    def _merge(cls, given):
        return {} if given is None else changed(FACTORIZATIONS, given)

    @field_serializer("factorization", mode="wrap")
    def _dump(self, factorization, dump):
        return with_left_out(FACTORIZATIONS, dump(factorization))

    @model_validator(mode="after")
    def _names(self):
        for name in self.factorization:
            if name.split(".")[0] in ("word2vec", "seq2seq", ENCODER):  # encoder.sessions too is a file of the encoder's
                raise ValueError(f"factorization: {name!r} is the name of another model")
        return self

    @property
    def names(self) -> list[str]:
        """The names of the vectors of items alone, in the order of their stages."""
        one = [self.word2vec and "word2vec", *self.factorization, self.seq2seq and "seq2seq"]
        return [name for name in one if name]

    @property
    def known(self) -> list[str]:
        """`names`, and the encoder's, whose vectors are of sessions too."""
        return [*self.names, *([ENCODER] if self.encoder else [])]

    def parts(self) -> dict[str, Section]:
        """The settings behind each name of `known`."""
        one = {"word2vec": self.word2vec, **self.factorization, "seq2seq": self.seq2seq, ENCODER: self.encoder}
        return {name: part for name, part in one.items() if part is not None}

    def only(self, names: set[str]) -> EmbeddingsConfig:
        """The same without the vectors that are not among the names."""
        return self.model_copy(
            update={
                "word2vec": self.word2vec if "word2vec" in names else None,
                "factorization": {n: f for n, f in self.factorization.items() if n in names},
                "seq2seq": self.seq2seq if "seq2seq" in names else None,
                ENCODER: self.encoder if ENCODER in names else None,
            }
        )

    def outputs(self) -> dict[str, tuple[str, ...]]:
        """{stage: what it writes below the run directory}, in the order of the stages; nothing where a part is off."""
        made = {
            "word2vec": ["word2vec"] if self.word2vec else [],
            "factorization": list(self.factorization),
            "seq2seq": ["seq2seq"] if self.seq2seq else [],
        }
        files = {s: [f"embeddings/{n}.json" for n in ns] + _of_periods(*ns) for s, ns in made.items()}
        own = _of_periods(ENCODER, f"{ENCODER}.sessions") + [f"embeddings/{split}/{ENCODER}.weights.npz" for split in SPLITS]
        files[ENCODER] = [f"embeddings/{ENCODER}.json", *own] if self.encoder else []
        return {stage: tuple(paths) for stage, paths in files.items()}
