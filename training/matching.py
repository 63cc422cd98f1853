"""Match queries to objects: an exact minimum-cost assignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Assign a different column to each row so that the sum of the costs is smallest.

    cost: finite, [rows, columns] with rows <= columns. Returns the columns, int64 [rows].

    Shortest augmenting paths with dual prices (Jonker and Volgenant 1987): rows are added one by
    one, each along the cheapest path to a free column. Raises ValueError for other shapes.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows cannot have a column each out of {columns}.")
    if rows == 1:
        return np.array([cost[0].argmin()], dtype=np.int64)
    row_of = np.full(columns, -1)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    for row in range(rows):
        distance = np.full(columns, np.inf)
        previous = np.full(columns, -1)
        settled = np.zeros(columns, dtype=bool)
        reached, entered_from, length = row, -1, 0.0
        while True:
            through = length + cost[reached] - row_price[reached] - column_price
            shorter = ~settled & (through < distance)
            distance[shorter] = through[shorter]
            previous[shorter] = entered_from
            column = int(np.where(settled, np.inf, distance).argmin())
            length = float(distance[column])
            if row_of[column] < 0:
                break
            settled[column] = True
            reached, entered_from = int(row_of[column]), column
        # A price changes by how much shorter the path to its column is than the whole path.
        row_price[row] += length
        row_price[row_of[settled]] += length - distance[settled]
        column_price[settled] -= length - distance[settled]
        while column >= 0:
            before = int(previous[column])
            row_of[column] = row if before < 0 else row_of[before]
            column = before
    result = np.empty(rows, dtype=np.int64)
    taken = np.flatnonzero(row_of >= 0)
    result[row_of[taken]] = taken
    return result
