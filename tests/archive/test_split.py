"""Queries in two parts: shares of any pieces, put together, are what one DuckDB says of the whole."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.archive.split import split
from aishark_panel.errors import ConfigError

KEYS = ["protocol", "src_ip", "upper(protocol)", "dst_port % 3", "date_trunc('second', ts)"]
AGGREGATES = [
    "count(*)",
    "count(dst_port)",
    "sum(orig_len)",
    "min(ts)",
    "max(dst_port)",
    "avg(orig_len)",
    "count(distinct src_ip)",
    "count(distinct dst_port) filter (where orig_len > 3)",
    "sum(orig_len) filter (where protocol = 'TCP')",
    "sum(orig_len) * 8.0 / count(*)",
    "median(orig_len)",
    "stddev_pop(orig_len)",
]
ROW = st.tuples(
    st.sampled_from(["TCP", "UDP", "DNS"]),
    st.sampled_from(["10.0.0.1", "10.0.0.2", None]),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(0, 5)),
    st.integers(0, 5),
)


def packets(rows: list[tuple[str, str | None, int, int | None, int]]) -> pa.Table:
    protocol, src_ip, orig_len, dst_port, ts = zip(*rows, strict=True) if rows else ((),) * 5
    return pa.table(
        {
            "protocol": pa.array(protocol, pa.string()).dictionary_encode(),
            "src_ip": pa.array(src_ip, pa.string()),
            "orig_len": pa.array(orig_len, pa.uint32()),
            "dst_port": pa.array(dst_port, pa.uint16()),
            "ts": pa.array([t * 10**9 for t in ts], pa.timestamp("ns", tz="UTC")),
        }
    )


def ask(query: str, table: pa.Table) -> pa.Table:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("packets", table)
        return database.sql(query).to_arrow_table()


@settings(max_examples=60)
@given(
    st.lists(st.lists(ROW, max_size=12), min_size=1, max_size=4),
    st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
    st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=3, unique=True),
    st.sampled_from(["", "where orig_len > 2", "where src_ip is not null and protocol <> 'DNS'"]),
    st.sampled_from(["", "having count(*) > 1"]),
)
def test_any_groups(pieces: list[list[tuple[str, str | None, int, int | None, int]]], keys: list[str],
                    aggregates: list[str], where: str, having: str) -> None:  # fmt: skip
    group = "group by all" if keys else ""
    query = f"select {', '.join(keys + aggregates)} from packets {where} {group} {having} order by all"
    tables = [packets(piece) for piece in pieces]
    parted = split(query, tables[0].column_names)
    shares = pa.concat_tables([ask(parted.share, table) for table in tables], promote_options="permissive")
    whole, put_together = ask(query, pa.concat_tables(tables)), ask(parted.answer, shares)
    assert put_together.schema.types == whole.schema.types
    for ours, theirs in zip(put_together.columns, whole.columns, strict=True):
        assert [pytest.approx(x) if isinstance(x, float) else x for x in ours.to_pylist()] == theirs.to_pylist()


def test_workers_send_groups_not_packets() -> None:
    columns = ["protocol", "orig_len", "src_ip"]
    assert split("select protocol, avg(orig_len) from packets group by 1", columns).share == (
        "SELECT protocol AS k0, SUM(CAST(orig_len AS DOUBLE)) AS a0, COUNT(orig_len) AS a1 FROM packets "
        "GROUP BY protocol"
    )
    assert split("select * from packets limit 5 offset 2", columns).share == "SELECT * FROM packets LIMIT 5 + 2"
    assert split("select median(orig_len) from packets where protocol = 'TCP'", columns).share == (
        """SELECT "protocol", "orig_len" FROM packets WHERE protocol = 'TCP'"""
    )


@pytest.mark.parametrize("query", ["", "select", "select * from a", "delete from packets", "select 1; select 1",
                                   "select * from 'x.parquet'", "select x from packets group by 9"])  # fmt: skip
def test_what_cannot_be_parted_is_refused(query: str) -> None:
    with pytest.raises(ConfigError):
        split(query, ["x"])
