"""What benches/compare and benches/figures write into a page: a block of their own, between two marks."""

import os
import platform
import re
from pathlib import Path

END = "<!-- end of what it writes -->"


def write_block(page, writer, body):
    """The page's own words stay; what lies between the writer's marks is replaced."""
    begin = f"<!-- written by {writer} -->"
    block = re.compile(re.escape(begin) + ".*?" + re.escape(END), re.DOTALL)
    text = page.read_text()
    if not block.search(text):
        raise SystemExit(f"{page} has no block of {writer}")
    page.write_text(block.sub(lambda _: f"{begin}\n\n{body}\n\n{END}", text, count=1))


def machine():
    """The processor as it names itself, and what there is of it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().split("-")[0]
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, Linux {kernel}"


def load():
    """What else the machine has to do, before it is given this."""
    return f"load average before: {os.getloadavg()[0]:.1f}"
