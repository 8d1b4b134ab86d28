"""The benchmark where the command line cannot run: `python -m dreamreel.pipeline.judging.bench`."""

import argparse
import sys
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.bench import USUAL_REPEATS, USUAL_SIZES
from dreamreel.pipeline.judging.bench.course import NETWORK, Course, parse_sizes
from dreamreel.pipeline.judging.bench.showing import bench


def main() -> int:
    """Measure as the options say, and return the exit code."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--sizes", default=USUAL_SIZES)
    parser.add_argument("--repeats", type=int, default=USUAL_REPEATS)
    parser.add_argument("--network", default=NETWORK)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    given = parser.parse_args()
    try:
        course = Course(
            parse_sizes(given.sizes),
            given.network,
            given.weights,
            given.device,
            given.precision,
            given.repeats,
        )
        bench(course, given.json, given.plot, given.against, given.overwrite)
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
