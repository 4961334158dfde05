"""SQL over the rows of a store, by DuckDB."""

from __future__ import annotations

from typing import Any

from robobench.errors import RobobenchError
from robobench.store import Store


def ask(store: Store, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of the answer. Raises RobobenchError for what DuckDB cannot read.

    Views: `cells` (cell, model, condition, ladder, level, data), `rows` (the rows of the recorded
    runs) and `all_rows` (everything in the folder).
    """
    import duckdb
    import pandas as pd

    connection = duckdb.connect()
    try:
        described = [{"cell": k, **v, "level": _text(v["level"])} for k, v in store.describe().items()]
        columns = ["cell", "model", "spec", "condition", "ladder", "level", "data"]
        connection.register("cells", pd.DataFrame(described, columns=columns))
        current = {k for run in store.runs() for m in run["models"] for k in m["cells"].values()}
        connection.register("current_cells", pd.DataFrame({"cell": sorted(current)}, dtype="str"))
        files = store.row_files()
        if not files:
            raise RobobenchError(f"{store.root}: there are no rows yet")
        names = [str(f) for f in files]
        connection.read_parquet(names, union_by_name=True).create_view("all_rows")
        connection.execute(
            "create view rows as select * from all_rows where cell in (select cell from current_cells)"
        )
        answer = connection.sql(sql)
        if answer is None:
            return [], []
        return list(answer.columns), answer.fetchall()
    except duckdb.Error as error:
        raise RobobenchError(f"query: {error}") from None
    finally:
        connection.close()


def _text(level: Any) -> str | None:
    return None if level is None else str(level)
