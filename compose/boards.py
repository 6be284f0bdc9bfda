"""Holds the queries of Grafana's boards to what they ask.

  boards.py names                the metrics they use, one a line
  boards.py prometheus HOST:PORT asks that server each PromQL query; fails when one has no result
  boards.py sql                  prints the SQL queries for psql, with Grafana's macros filled in;
                                 each fails when it has no rows, unless it looks for faults
"""

import json
import pathlib
import re
import sys
import urllib.parse
import urllib.request

BOARDS = pathlib.Path(__file__).parent / "grafana" / "boards"
# What these look for is not there when all goes well.
FAULTS = {"Refused", "Dead letters"}


def boards():
    for path in sorted(BOARDS.glob("*.json")):
        yield json.loads(path.read_text())


def queries(key):
    """Board, panel and query, of all that have one under this key."""
    for board in boards():
        for panel in board["panels"]:
            for target in panel["targets"]:
                if key in target:
                    yield board["title"], panel["title"], target[key]


def promql(query):
    return query.replace("$__rate_interval", "1m")


def sql(query):
    # https://grafana.com/docs/grafana/latest/datasources/postgres/#macros, without TimescaleDB
    query = re.sub(
        r"\$__timeGroupAlias\(([^,]+), \$__interval\)",
        r'(floor(extract(epoch from \1) / 10) * 10) AS "time"',
        query,
    )
    query = re.sub(
        r"\$__timeFilter\(([^)]+)\)",
        r"\1 BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'",
        query,
    )
    all_tags = "SELECT topic FROM updraft.tag"
    return query.replace("${tag:sqlstring}", all_tags)


def names():
    for _, _, query in queries("expr"):
        yield from re.findall(r"\bupdraft_\w+", query)


def ask(server):
    for board, panel, query in queries("expr"):
        form = urllib.parse.urlencode({"query": promql(query)})
        with urllib.request.urlopen(f"http://{server}/api/v1/query?{form}") as answer:
            result = json.load(answer)["data"]["result"]
        if not result and panel not in FAULTS:
            sys.exit(f"{board}: {panel}: no result: {query}")


def as_psql():
    print("\\set ON_ERROR_STOP 1")
    for board in boards():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                checked(board["title"], variable["name"], variable["query"])
    for board, panel, query in queries("rawSql"):
        checked(board, panel, sql(query))


def checked(board, panel, query):
    assert "$" not in query, f"{board}: {panel}: unknown macro: {query}"
    print(f"\\echo {board}: {panel}")
    print(f"SELECT count(*) > 0 AS found FROM ({query}\n) AS rows \\gset")
    if panel not in FAULTS:
        print("\\if :found\n\\else\n\\echo no rows\nSELECT 'no rows'::int;\n\\endif")


def main():
    match sys.argv[1:]:
        case ["names"]:
            print("\n".join(sorted(set(names()))))
        case ["prometheus", server]:
            ask(server)
        case ["sql"]:
            as_psql()
        case _:
            sys.exit(__doc__)


main()
