"""SQL over the rows of a store, by DuckDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robobench.engine.record import read_run
from robobench.errors import RobobenchError
from robobench.store import Store

if TYPE_CHECKING:
    import pandas as pd


def ask(store: Store, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of the answer. Raises RobobenchError for what DuckDB cannot read.

    Views: `cells` (cell, model, condition, ladder, level, data), `rows` (those of the newest run
    of each suite, under its names) and `all_rows` (everything in the folder).
    """
    import duckdb
    import pandas as pd

    connection = duckdb.connect()
    try:
        described = [{"cell": k, **v, "level": _text(v["level"])} for k, v in store.describe().items()]
        columns = ["cell", "model", "spec", "condition", "ladder", "level", "data"]
        connection.register("cells", pd.DataFrame(described, columns=columns))
        connection.register("wanted", _wanted(store))
        files = store.row_files()
        if not files:
            raise RobobenchError(f"{store.root}: there are no rows yet")
        names = [str(f) for f in files]
        connection.read_parquet(names, union_by_name=True).create_view("all_rows")
        connection.execute(
            "create view rows as select w.suite, w.model, w.condition, a.* exclude (model, condition) "
            "from all_rows a join wanted w using (cell, image_id)"
        )
        answer = connection.sql(sql)
        if answer is None:
            return [], []
        return list(answer.columns), answer.fetchall()
    except (duckdb.Error, ImportError) as error:  # DuckDB wants packages for some of its types
        reason = str(error).partition(", due to the following Python")[0]
        raise RobobenchError(f"query: {reason}") from None
    finally:
        connection.close()


def _wanted(store: Store) -> pd.DataFrame:
    """What the newest run of each suite consists of: suite, model, condition, cell and image."""
    import pandas as pd

    newest = {run["suite"]: read_run(store.root, run) for run in store.runs()}
    parts = [
        pd.DataFrame(
            {
                "suite": record.suite,
                "model": model.name,
                "condition": condition.name,
                "cell": model.cells[condition.name],
                "image_id": list(record.images(condition, model)),
            }
        )
        for record in newest.values()
        for model in record.models
        for condition in record.conditions
    ]
    columns = ["suite", "model", "condition", "cell", "image_id"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype="str")


def _text(level: Any) -> str | None:
    return None if level is None else str(level)
