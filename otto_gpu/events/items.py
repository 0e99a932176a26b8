"""What is known of the items besides their ids: attributes of four kinds, by dense item id."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.run.directory import write_table

ATTRIBUTES = "attributes.parquet"  # in events/ of a run: row i belongs to the dense id i
KIND = b"kind"  # of a column, in its metadata
NO_CODE = -1
NO_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Items:
    """Attributes of the items, by name. codes: int32 [n_items], from 0, NO_CODE where missing; numbers: float32 [n_items], nan
    where missing; times: int64 [n_items], ms, NO_TIME where missing; texts: pa.Array of strings [n_items] with nulls, which
    stay on the host."""

    n_items: int
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    times: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, pa.Array] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        """Whether there are any attributes."""
        return bool(self.codes or self.numbers or self.times or self.texts)

    def save(self, path: Path) -> None:
        columns, fields = [], []
        for kind in ("codes", "numbers", "times", "texts"):
            for name, values in getattr(self, kind).items():
                columns.append(pa.array(values) if isinstance(values, np.ndarray) else values)
                fields.append(pa.field(name, columns[-1].type, metadata={KIND: kind.encode()}))
        schema = pa.schema(fields, metadata={"n_items": str(self.n_items)})
        write_table(pa.table(columns, schema=schema), path)

    @classmethod
    def load(cls, run_dir: Path, n_items: int) -> Items:
        """Those of a run; none where it has no items file."""
        path = run_dir / "events" / ATTRIBUTES
        found = cls(n_items)
        if not path.is_file():
            return found
        table = pq.read_table(path)
        for column in table.schema:
            kind, values = column.metadata[KIND].decode(), table[column.name].combine_chunks()
            # copies: what Arrow lends is read-only, for which numba would compile every kernel once more
            getattr(found, kind)[column.name] = values if kind == "texts" else np.array(values)
        return found
