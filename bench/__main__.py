"""`python -m bench`: all measurements, the tables, and the results on disk; `--full` for the whole of it."""

import argparse
import sys
from dataclasses import asdict

import uvloop

from bench import report
from bench.processes import CORES, pin_here
from bench.rounds import FULL, QUICK, Round, one_round


async def run(rounds: int, *, full: bool) -> list[Round]:
    """The rounds, one after the other; the leak check once, in the first."""
    done = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        done.append(await one_round(FULL if full else QUICK, leak=number == 0))
    return done


def main() -> None:
    """Runs, prints, writes."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="three long rounds, about half an hour")
    parser.add_argument("--rounds", type=int, default=0, help="how many rounds (1; full: 3)")
    chosen = parser.parse_args()
    if len(CORES) < 2:
        sys.exit("The bench needs two cores: one for the server, one for everything else.")
    at, on = report.now(), report.machine()
    pin_here()
    done = uvloop.run(run(chosen.rounds or (3 if chosen.full else 1), full=chosen.full))
    page = report.written(
        at,
        on,
        asdict(FULL if chosen.full else QUICK),
        [each.figures for each in done],
        [each.broken for each in done],
    )
    print(page.read_text())
    print(f"written to {page}")


if __name__ == "__main__":
    main()
