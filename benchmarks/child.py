"""One contender of one row, once: ``python -m benchmarks.child ROW CONTENDER --size N``; its last line is JSON."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path

from benchmarks.row import Setting, load_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row")
    parser.add_argument("contender")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    row = load_row(options.row)
    # Airflow takes its home from the environment; logging to a terminal is not what is compared.
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="portkey-bench-") as folder:
        os.environ["AIRFLOW_HOME"] = f"{folder}/airflow"
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        work = Path(folder) / "work"
        work.mkdir()
        setting = Setting(size=options.size, url=options.url, folder=work)
        values = row.contenders[options.contender](setting)
    if missing := row.metrics.keys() - values.keys():
        raise SystemExit(f"{options.contender} of {options.row} returned no value for {sorted(missing)}")
    print(json.dumps({name: values[name] for name in row.metrics}), flush=True)


if __name__ == "__main__":
    main()
