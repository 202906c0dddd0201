"""Send the hostile corpus to the service and print what became of it.

Ends with 1 when an answer is wrong or missing, a good frame was harmed, something was published
where it must not be, or the service suffered.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.hostile.corpus import FAMILIES, corpus
from tests.hostile.run import try_all


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="none: all of them")
    parser.add_argument(
        "--quick", action="store_true", help="each message once; else at each QoS of each protocol"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.families) - FAMILIES.keys():
        parser.error(f"no family is called {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    chosen = {name: FAMILIES[name] for name in arguments.families or FAMILIES}
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(try_all(Path(folder), corpus(chosen), is_full=not arguments.quick))
    sys.stdout.write(f"{report}\n")
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
