"""How long and how often everything is measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often.

    Args:
        duration_s, filtered_s: of one load of one system in one round, without a condition and under one over a network.
        rounds: turns of every system in every case.
        connections_s: of one load by which the number of connections is chosen.
        write_rounds, write_s: rounds of writes and the duration of each.
        rows_per_s, batch_rows: of the writes.
        num_stale: rows inserted with `wait`, each followed by one search.
        growth: numbers of rows, rising.
    """

    duration_s: float = 2.0
    filtered_s: float = 1.0
    rounds: int = 3
    connections_s: float = 0.5
    write_rounds: int = 3
    write_s: float = 5.0
    rows_per_s: int = 2000
    batch_rows: int = 500
    num_stale: int = 300
    growth: tuple[int, ...] = (100_000, 300_000, 1_000_000, 2_000_000)

    @property
    def rows_per_round(self) -> int:
        """Rows of one round of writes, whole batches."""
        return int(self.write_s * self.rows_per_s) // self.batch_rows * self.batch_rows

    @property
    def num_new(self) -> int:
        """Rows of all rounds of writes and of the search for stale ones."""
        return self.write_rounds * self.rows_per_round + self.num_stale
