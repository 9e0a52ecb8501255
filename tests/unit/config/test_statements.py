"""Parameters of SQL statements are found where they are, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardproxy.config.statements import read_statement


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select 1", ()),
        ("select :id", ("id",)),
        ("select :id, :id, :b_2", ("id", "b_2")),
        ("select :id::int, x::text from t", ("id",)),
        ("select ':id', 'it''s :x', :y", ("y",)),
        (r"select '\', :id", ("id",)),
        (r"select E'\' :x', :id", ("id",)),
        (r"select e'\\', :id", ("id",)),
        ('select ":id", "a"" :b", :c', ("c",)),
        ("select `:id`, :c", ("c",)),
        ("select $$ :id $$, $x$ :a $$ :b $x$, :c", ("c",)),
        ("select 1 -- :id\n, :c", ("c",)),
        ("select /* :id \n :b */ :c", ("c",)),
        ("select a[1:2], '12:30', :c", ("c",)),
        ("select a from t where b=:b and c>:c;", ("b", "c")),
        ("select 1 where x = :", ()),
    ],
)
def test_parameters_are_named(sql: str, names: tuple[str, ...]) -> None:
    assert read_statement(sql).names == names


@given(st.text(alphabet=":'\"$-/*\\ax1 \n`%"))
def test_a_statement_is_its_pieces(sql: str) -> None:
    statement = read_statement(sql)
    assert statement.written(lambda text: text, lambda name: f":{name}") == sql
    assert len(statement.pieces) % 2 == 1
