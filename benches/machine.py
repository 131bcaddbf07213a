"""On which day and on which machine something was measured, noted when it was: the report may be made elsewhere.

machine.py now               prints both
machine.py name < IN > OUT   lines of JSON, each with this machine, where it names none
"""

import json
import sys
from datetime import date


def machine() -> str:
    cpu = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    memory = int(next(line for line in open("/proc/meminfo")).split()[1]) // 2**20
    return f"{cores} cores of {cpu}, {memory} GiB"


def main() -> None:
    if sys.argv[1:] == ["now"]:
        print(f"{date.today()}, {machine()}")
    elif sys.argv[1:] == ["name"]:
        for line in sys.stdin:
            print(json.dumps({"machine": machine(), **json.loads(line)}))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
