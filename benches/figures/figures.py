"""Measures Herdsman by itself, beside what its store can do on the same machine at the same time.

Called by benches/figures/run, which brings what this needs. Every figure says in its row what it is of; what is beside
it was measured within the same minute, so trust the ratios more than the figures.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from page import load, machine, write_block
from turn import JVM, Failed, Turn, cpu_seconds, end_well_when_told_to

ROOT = Path(__file__).resolve().parent.parent.parent
# Only the first of the JVM's compilers: as many small installations and tests run it, to start fast and stay small.
QUICK_JVM = (*JVM, "-XX:TieredStopAtLevel=1")
MIB, KIB = 2**20, 2**10
# What has ended is kept for a minute at least, and counts: at full speed that is more than the budgets allow by default.
RETAINED = 60
ROOMY = ("--max-tasks", 10_000_000, "--max-bytes", 64 * 2**30, "--retain-finished", f"{RETAINED}s")
# A kind that nobody serves.
NOBODY = ("--kind", "nobody-serves-this")


class Bench:
    """`herdsman bench` on one cluster, and on the store that is measured beside it."""

    def __init__(self, turn, place, server):
        self.turn, self.place, self.server = turn, place, server

    def run(self, *arguments, **how):
        bench = (self.turn.herdsman, "bench", "--output", "json", "--server", self.server)
        return self.turn.run(*bench, *arguments, **how)

    def with_limit(self, *arguments):
        """One round beside what the store alone can do with a node a task."""
        return self.run(*arguments, "--limit", "--zookeeper", self.place, "--rounds", 1)


def warm(turn, place, options):
    """A JVM that has just started is several times slower than it will be."""
    limit = ("--limit", "--zookeeper", place, "--rounds", 1, "--latencies", 200)
    turn.run(turn.herdsman, "bench", "--output", "json", *limit, "--for", f"{options.warm}s")


def median(reports, name):
    return statistics.median(report[name] for report in reports)


def row(what, measured, beside="", ratio=""):
    return (what, measured, beside, ratio)


def rate(value, unit="tasks/s"):
    return f"{value:,.0f} {unit}"


def quotient(value, by):
    return f"{value / by:.2f}" if by else ""


def of_limit(what, reports, limits=None):
    """A row of completed tasks a second beside the limit of the same rounds."""
    limits = limits or reports
    ratios = [report["completed_per_s"] / limit["limit_per_s"] for report, limit in zip(reports, limits)]
    return row(
        what,
        rate(median(reports, "completed_per_s")),
        f"the store alone, a node a task: {rate(median(limits, 'limit_per_s'), 'lives/s')}",
        f"{statistics.median(ratios):.2f}",
    )


BATCHED = ("--mode", "batch")
UNARY = ("--mode", "unary", "--outstanding", 256)


def throughput_on(turn, options, jvm):
    """On one ZooKeeper: a cluster with a node a task and one that packs, in turn."""
    zookeeper = turn.zookeeper(jvm=jvm)
    warm(turn, zookeeper, options)
    benches, used = {}, {}
    for packing in ("off", "on"):
        place = f"{zookeeper}/packing-{packing}"
        roles = turn.cluster(place, (*ROOMY, "--packing", packing))
        benches[packing] = Bench(turn, place, roles["client"].url)
        processes = {
            "leader": roles["masters"][0].process,
            "client service": roles["client"].process,
            "worker": roles["workers"][0].process,
            "ZooKeeper": turn.processes[0],
        }
        used[packing] = processor_time(turn, processes, benches[packing], options)
    unpacked, packed, unary = [], [], []
    for _ in range(options.rounds):
        seconds = ("--for", f"{options.seconds}s")
        unpacked.append(benches["off"].with_limit(*BATCHED, *seconds, "--latencies", 1))
        packed.append(benches["on"].with_limit(*BATCHED, *seconds, "--latencies", 1_000))
        unary.append(benches["on"].run(*UNARY, *seconds))
    return unpacked, packed, unary, used["on"]


def processor_time(turn, processes, bench, options):
    """Of each process, in microseconds for a task of a batch."""
    bench.run(*BATCHED, "--for", f"{options.seconds}s")
    before, own = {name: cpu_seconds(process) for name, process in processes.items()}, os.times()
    report = bench.run(*BATCHED, "--for", f"{2 * options.seconds}s")
    spent = {name: cpu_seconds(process) - before[name] for name, process in processes.items()}
    ended = os.times()
    spent["load"] = ended.children_user + ended.children_system - own.children_user - own.children_system
    tasks = report["rounds"][0]["tasks"]["succeeded"]
    return {name: seconds * 1e6 / tasks for name, seconds in spent.items()}


def spent_on_a_task(whose, used):
    parts = ", ".join(f"{name} {spent:.1f}" for name, spent in used.items())
    return row(f"processor time of a task in a batch, {whose}", f"{sum(used.values()):.0f} µs", parts)


def throughput(options):
    rows = []
    for jvm, said in ((JVM, ""), (QUICK_JVM, " (its JVM with `-XX:TieredStopAtLevel=1`)")):
        with Turn("throughput", options.herdsman) as turn:
            unpacked, packed, unary, used = throughput_on(turn, options, jvm)
        rows += [
            of_limit(f"batched submits, a node a task (`--packing off`){said}", unpacked),
            of_limit(f"batched submits{said}", packed),
            of_limit(f"256 SubmitTask calls at once{said}", unary, packed),
        ]
        if jvm == JVM:
            rows.append(spent_on_a_task("of all processes", used))
            rows += [
                row(
                    f"one task alone, submit to push of its end, {percentile}",
                    f"{median(packed, f'unloaded_end_{percentile}_ms'):.2f} ms",
                    f"one create in ZooKeeper: {median(packed, f'create_{percentile}_ms'):.2f} ms",
                    f"{median(packed, f'latency_ratio_{percentile}'):.1f}",
                )
                for percentile in ("p50", "p99")
            ]
    return rows


def ensemble(options):
    with Turn("ensemble", options.herdsman) as turn:
        place = f"{turn.zookeeper(servers=3)}/herdsman"
        warm(turn, place, options)
        bench = Bench(turn, place, turn.cluster(place, ROOMY)["client"].url)
        seconds = ("--for", f"{options.seconds}s", "--latencies", 100)
        bench.run(*BATCHED, *seconds[:2])
        reports = [bench.with_limit(*BATCHED, *seconds) for _ in range(options.rounds)]
    return [of_limit("batched submits, on three ZooKeepers", reports)]


def node(options):
    with Turn("node", options.herdsman) as turn:
        place = f"{turn.zookeeper()}/herdsman"
        warm(turn, place, options)
        role = turn.node(place, "--slots", 1000, *ROOMY)
        bench = Bench(turn, place, role.url)
        used = processor_time(turn, {"node": role.process, "ZooKeeper": turn.processes[0]}, bench, options)
        seconds = ("--for", f"{options.seconds}s", "--latencies", 100)
        reports = [bench.with_limit(*BATCHED, *seconds) for _ in range(options.rounds)]
    what = "batched submits, `herdsman node`: the three roles as one process"
    return [of_limit(what, reports), spent_on_a_task("of a node", used)]


def dev(options):
    with Turn("dev", options.herdsman) as turn:
        zookeeper = turn.zookeeper()
        warm(turn, zookeeper, options)
        server = turn.embedded("--slots", 1000, *ROOMY)
        bench = Bench(turn, f"{zookeeper}/beside", server.url)
        seconds = ("--for", f"{options.seconds}s", "--latencies", 100)
        bench.run(*BATCHED, *seconds[:2])
        reports = [bench.with_limit(*BATCHED, *seconds) for _ in range(options.rounds)]
    return [of_limit("batched submits, `herdsman dev` on its disk", reports)]


# --- A million tasks. ---------------------------------------------------------------------------------------------------


def fill(bench, tasks):
    """So many tasks that stay pending; the report of how fast they were accepted."""
    return bench.run(*BATCHED, "--watch", "none", *NOBODY, "--tasks", tasks)


def leader_of(turn, roles):
    """The master that leads, when another one stands by."""

    def found():
        asked = (turn.herdsman, "cluster", "--server", roles["client"].url, "--output", "json")
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode == 0:
            cluster = json.loads(done.stdout)
            address = cluster.get("leader", {}).get("address")
            if int(cluster.get("standbyCount", 0)) > 0:
                return next((master for master in roles["masters"] if master.address == address), None)

    return turn.wait(found, "a leader and a standby")


def takeover(turn, place, roles):
    """From the kill of the leader to the next submit that is answered with OK, in seconds. Then one leads that has come in
    peace: who came by a suspicion cannot be suspected for a while."""
    leader = leader_of(turn, roles)
    # What came with the beginning is over.
    time.sleep(1)
    submit = (turn.herdsman, "submit", "--server", roles["client"].url, *NOBODY)
    start = time.monotonic()
    turn.kill(leader.process)
    turn.wait(lambda: subprocess.run(submit, capture_output=True).returncode == 0, "a leader after the first", pause=0)
    took = time.monotonic() - start
    roles["masters"] = [master for master in roles["masters"] if master is not leader]
    roles["masters"].append(turn.role("master", place, *ROOMY))
    suspicious = leader_of(turn, roles)
    roles["masters"].append(turn.role("master", place, *ROOMY))
    turn.end(suspicious.process)
    roles["masters"].remove(suspicious)
    return took


def million(options):
    many, few = options.tasks, options.tasks // 10
    with Turn("million", options.herdsman) as turn:
        zookeeper = turn.zookeeper()
        warm(turn, zookeeper, options)
        submits, takeovers, memory = {}, {}, 0
        for tasks in (few, many):
            place = f"{zookeeper}/with-{tasks}"
            roles = turn.cluster(place, ROOMY, masters=2, workers=0)
            bench = Bench(turn, place, roles["client"].url)
            leader = leader_of(turn, roles)
            fill(bench, 1_000)
            before = leader.memory()
            fill(bench, tasks - 1_000)
            memory = (leader.memory() - before) / (tasks - 1_000)
            if tasks == many:
                submits = interleaved(turn, zookeeper, bench, options)
            takeovers[tasks] = [takeover(turn, place, roles) for _ in range(options.rounds)]
            for role in (*roles["masters"], roles["client"]):
                turn.end(role.process)
    ratios = [full / empty for full, empty in zip(*submits)]
    full, empty = (statistics.median(rates) for rates in submits)
    slow, fast = (statistics.median(takeovers[tasks]) for tasks in (many, few))
    return [
        row(
            f"submits accepted with {many:,} tasks pending",
            rate(full),
            f"with 1,000: {rate(empty)}",
            f"{statistics.median(ratios):.2f}",
        ),
        row("the leader's memory for each of them", f"{memory:,.0f} B"),
        row(
            f"takeover with {many:,} tasks: kill of the leader to the next submit that is accepted",
            f"{slow:.2f} s",
            f"with {few:,}: {fast:.2f} s",
            quotient(slow, fast),
        ),
    ]


def interleaved(turn, zookeeper, full, options):
    """Rates of submits to a full cluster and to ones that have hardly anything, in turn."""
    rates = ([], [])
    for number in range(options.rounds):
        place = f"{zookeeper}/empty-{number}"
        roles = turn.cluster(place, ROOMY, workers=0)
        empty = Bench(turn, place, roles["client"].url)
        fill(empty, 1_000)
        for bench, of_bench in zip((full, empty), rates):
            of_bench.append(fill(bench, options.tasks // 25)["accepted_per_s"])
        for role in (*roles["masters"], roles["client"]):
            turn.end(role.process)
    return rates


def delayed(options):
    """So many tasks that are not to begin yet: what they cost a leader that has nothing to do, and one that has."""
    with Turn("delayed", options.herdsman) as turn:
        zookeeper = turn.zookeeper()
        warm(turn, zookeeper, options)
        leaders, benches = [], []
        for tasks in (1_000, options.tasks):
            place = f"{zookeeper}/delayed-{tasks}"
            roles = turn.cluster(place, ROOMY)
            bench = Bench(turn, place, roles["client"].url)
            later = ("--kind", "noop", "--count", tasks, "--delay", "24h")
            turn.output(turn.herdsman, "submit", "--server", bench.server, *later)
            bench.run(*BATCHED, "--for", f"{options.seconds}s")
            leaders.append(roles["masters"][0])
            benches.append(bench)
        # What is kept of the first load is gone before the leaders are looked at.
        time.sleep(75)
        idle = [cores(leader, options.idle_seconds) for leader in leaders]
        rates = [[], []]
        for _ in range(options.rounds):
            for bench, of_bench in zip(benches, rates):
                of_bench.append(bench.run(*BATCHED, "--for", f"{options.seconds}s")["completed_per_s"])
    few, many = (statistics.median(of_bench) for of_bench in rates)
    ratios = [full / empty for empty, full in zip(*rates)]
    return [
        row(
            f"the leader's processor time with {options.tasks:,} tasks that begin tomorrow",
            f"{idle[1]:.3f} cores",
            f"with 1,000: {idle[0]:.3f} cores",
        ),
        row(
            "batched submits of others, beside them",
            rate(many),
            f"beside 1,000: {rate(few)}",
            f"{statistics.median(ratios):.2f}",
        ),
    ]


# --- Many watchers, many workers. -----------------------------------------------------------------------------------------

# How long a task sleeps: this many seconds' tasks are watched at once.
SLEEP = 10
# Of the largest worker.
SLOTS = 1_000


def streams(options):
    """Tasks that sleep, each with a stream of its own, by the clock: as many streams are open as tasks sleep."""
    per_second = options.streams // SLEEP
    with Turn("streams", options.herdsman) as turn:
        place = f"{turn.zookeeper()}/herdsman"
        workers = -(-options.streams * 6 // 5 // SLOTS)
        roles = turn.cluster(place, ROOMY, ("--slots", SLOTS), workers=workers)
        client, bench = roles["client"], Bench(turn, place, roles["client"].url)
        load = ("--rate", per_second, "--connections", 8)
        bench.run(*load, "--for", f"{options.warm}s")
        before, seen = client.memory(), []
        with sampling(lambda: seen.append((client.metric("herdsman_client_watch_streams"), client.memory()))):
            sleeping = ("--kind", "sleep", "--text", f"{SLEEP}s", "--watch", "each")
            report = bench.run(*load, *sleeping, "--for", f"{3 * SLEEP}s")
        most, memory = max(seen)
    return [
        row(
            f"push of an end, p99, with {most:,.0f} WatchTask streams on one client service, {per_second:,} ends a second",
            f"{report['push_p99_ms']:.1f} ms",
            f"p50: {report['push_p50_ms']:.1f} ms",
        ),
        row("the client service's memory for each of them", f"{(memory - before) / most / KIB:.1f} KiB"),
    ]


@contextlib.contextmanager
def sampling(sample, pause=1.0):
    """Samples in a thread of its own meanwhile."""
    over, failures = threading.Event(), []

    def run():
        try:
            while not over.wait(pause):
                sample()
        except (OSError, StopIteration) as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise Failed(f"could not sample: {failures[0]}")


def idle(options):
    with Turn("idle", options.herdsman) as turn:
        place = f"{turn.zookeeper()}/herdsman"
        roles = turn.cluster(place, workers=0)
        (leader,) = roles["masters"]
        nobody = cores(leader, options.idle_seconds)
        turn.start(options.crowd, "--zookeeper", place, "--workers", options.workers, env={"HERDSMAN_LOG": "warn"})
        turn.wait(lambda: leader.metric("herdsman_master_workers") == options.workers, "every worker's link", pause=1)
        # What comes with the beginning of the links is over.
        time.sleep(5)
        used = cores(leader, options.idle_seconds)
    return [
        row(
            f"the leader's processor time with {options.workers:,} idle workers (links of one process)",
            f"{used:.3f} cores",
            f"with none: {nobody:.3f} cores",
        )
    ]


def cores(role, seconds):
    before = role.cpu_seconds()
    time.sleep(seconds)
    return (role.cpu_seconds() - before) / seconds


# --- Too much. ------------------------------------------------------------------------------------------------------------

# As a part of what the cluster can complete.
TOO_MUCH = 3


def overload(options):
    with Turn("overload", options.herdsman) as turn:
        zookeeper = turn.zookeeper()
        warm(turn, zookeeper, options)
        place = f"{zookeeper}/herdsman"
        roles = turn.cluster(place, ROOMY)
        (leader,), client = roles["masters"], roles["client"]
        bench = Bench(turn, place, client.url)
        # What can be sustained: as many tasks are removed as end, because their minute is over.
        bench.run(*BATCHED, "--for", f"{RETAINED + options.seconds}s")
        seconds = options.overload_seconds
        peak = bench.run(*BATCHED, "--for", f"{seconds}s")["completed_per_s"]
        before, seen = (leader.memory(), client.memory()), []

        def sample():
            finished = leader.metric('herdsman_master_changes_total{what="finished"}')
            pending = leader.metric('herdsman_master_tasks{state="pending"}')
            seen.append((time.monotonic(), finished, leader.memory(), client.memory(), pending))

        with sampling(sample):
            offered = ("--rate", int(TOO_MUCH * peak), "--connections", 8, "--for", f"{seconds}s")
            report = bench.run(*BATCHED, *offered, well=(0, 1))
        during = [sample for sample in seen if sample[0] <= seen[0][0] + seconds - 5]
        (start, first, *_), (end, last, *_) = during[0], during[-1]
        goodput = (last - first) / (end - start)
        (tasks,) = (report["rounds"][0]["tasks"],)
        refused = ", ".join(f"{count / tasks['submitted']:.0%} {code}" for code, count in tasks["refused"].items())
    most = [max(sample[at] for sample in seen) for at in (2, 3, 4)]
    return [
        row(
            f"completed while {TOO_MUCH} × the peak is offered for {seconds} s",
            rate(goodput),
            f"the peak: {rate(peak)}",
            quotient(goodput, peak),
        ),
        row("refused of it", refused or "nothing", f"accepted: {tasks['accepted'] / tasks['submitted']:.0%}"),
        row(
            "memory meanwhile, at most",
            f"leader {most[0] / MIB:,.0f} MiB, client service {most[1] / MIB:,.0f} MiB",
            f"before: {before[0] / MIB:,.0f} and {before[1] / MIB:,.0f} MiB; {most[2]:,.0f} tasks were pending",
        ),
    ]


MEASURES = {
    "throughput": throughput,
    "ensemble": ensemble,
    "node": node,
    "dev": dev,
    "million": million,
    "delayed": delayed,
    "streams": streams,
    "idle": idle,
    "overload": overload,
}


def table(rows):
    lines = ["| what | measured | beside it | ratio |", "|---|---:|---|---:|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def zookeeper_version():
    asked = ["dpkg-query", "-W", "-f", "${Package} ${Version}", "zookeeper"]
    done = subprocess.run(asked, capture_output=True, text=True)
    java = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()
    return f"{done.stdout}, {java[0] if java else 'java'}"


def main():
    parser = argparse.ArgumentParser(prog="benches/figures/run", description="Herdsman beside what its store can do.")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(MEASURES), help=",".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=3, help="of what is measured in turn; medians are told")
    parser.add_argument("--seconds", type=int, default=4, help="of load, each time")
    parser.add_argument("--warm", type=int, default=15, help="seconds of load for a JVM before anything counts")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="that are pending; at least 10,000")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--idle-seconds", type=int, default=30)
    parser.add_argument("--overload-seconds", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="into docs/PERFORMANCE.md")
    for program in ("herdsman", "crowd"):
        parser.add_argument(f"--{program}", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.only) - set(MEASURES)
    if unknown or options.rounds < 1 or options.tasks < 10_000 or options.overload_seconds < 10:
        parser.error(f"--only is of {','.join(MEASURES)}; --rounds at least 1, --tasks 10,000, --overload-seconds 10")
    end_well_when_told_to()
    before, start, rows = load(), time.monotonic(), []
    for name in options.only:
        try:
            found = MEASURES[name](options)
        except (Failed, subprocess.TimeoutExpired) as failure:
            sys.exit(f"figures: {name}: {failure}")
        print(f"{time.monotonic() - start:.0f} s: {name}\n{table(found)}", file=sys.stderr, flush=True)
        rows += found
    said = (
        f"Medians of {options.rounds} rounds of {options.seconds} s, no-op tasks of 64 bytes. {machine()}; all processes, "
        f"load generator and ZooKeeper included, on these cores; {before}. {zookeeper_version()}; JVM: "
        f"{' '.join(JVM)}, full JIT, where nothing else is said."
    )
    print(f"{said}\n\n{table(rows)}")
    if options.write:
        write_block(ROOT / "docs/PERFORMANCE.md", "benches/figures/run", f"{said}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
