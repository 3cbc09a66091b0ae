"""Runs Herdsman and its peers on the same work in turn, several rounds, and tells the medians and ratios.

Called by benches/compare/run, which brings what this needs.
"""

import argparse
import importlib.metadata
import statistics
import subprocess
import sys
from pathlib import Path

import chart
from page import load, machine, write_block
from turn import Failed, Turn, end_well_when_told_to, free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def told(result, tasks):
    """What a submitter of ours has printed, as one peer's figures."""
    latencies = sorted(result["latencies_ms"])
    p50, p99 = (latencies[min(len(latencies) - 1, int(len(latencies) * part))] for part in (0.5, 0.99))
    return {"per_s": tasks / result["seconds"], "p50_ms": p50, "p99_ms": p99}


def python_peer(peer, address, turn, options, tasks):
    script = HERE / "peers.py"
    turn.start(sys.executable, script, peer, "worker", address)
    return told(turn.run(sys.executable, script, peer, "submit", address, tasks, options.bytes), tasks)


# --- The peers: each starts its servers and its worker, and gives completed tasks a second and latencies in ms. --------


def cluster(turn, *master):
    """The ZooKeeper of a cluster and the URL of its client service."""
    place = f"{turn.zookeeper()}/herdsman"
    return place, turn.cluster(place, (*ROOMY, *master))["client"].url


def benches(turn, options, server, *variants):
    """The report of each bench, after tasks for nothing: a JVM that has just started is several times slower than it will
    be, and no cluster's has just started."""
    bench = (options.herdsman, "bench", "--output", "json", "--payload", options.bytes, "--server", server)
    turn.run(*bench, *BATCHED, "--tasks", WARMING)
    for _ in range(2):
        reports = [turn.run(*bench, *variant) for variant in variants]
    return reports


BATCHED = ("--mode", "batch", "--rounds", 1)
# Tasks for nothing, by which the compilers of a ZooKeeper's JVM are done.
WARMING = 400_000
# Tasks whose submits are not answered, of batches and of NATS's publishes alike: eight calls of 500 each.
OUTSTANDING = 4_000
# What has ended is kept for an hour, as by default, and all of it has room.
ROOMY = ("--max-tasks", 10_000_000, "--max-bytes", 64 * 2**30)
UNARY = ("--mode", "unary", "--outstanding", 256)


def figures(report, prefix, rate):
    return {"per_s": report[rate], "p50_ms": report[f"{prefix}_p50_ms"], "p99_ms": report[f"{prefix}_p99_ms"]}


def herdsman(turn, options, tasks):
    place, server = cluster(turn)
    batched = (*BATCHED, "--tasks", tasks, "--limit", "--zookeeper", place)
    # A part of them: one at a time, they take longer.
    batch, unary = benches(turn, options, server, batched, (*UNARY, "--tasks", max(100, tasks // 4)))
    found = {"herdsman": figures(batch, "unloaded_end", "completed_per_s"), "limit": figures(batch, "create", "limit_per_s")}
    return {**found, "herdsman-unary": {**found["herdsman"], "per_s": unary["completed_per_s"]}}


def node(turn, options, tasks):
    place = f"{turn.zookeeper()}/herdsman"
    server = turn.node(place, "--slots", 1000, *ROOMY).url
    (batch,) = benches(turn, options, server, (*BATCHED, "--tasks", tasks, "--limit", "--zookeeper", place))
    return figures(batch, "unloaded_end", "completed_per_s")


def unpacked(turn, options, tasks):
    place, server = cluster(turn, "--packing", "off")
    (batch,) = benches(turn, options, server, (*BATCHED, "--tasks", tasks, "--limit", "--zookeeper", place))
    return figures(batch, "unloaded_end", "completed_per_s")


def nats(turn, options, tasks):
    port = free_port()
    turn.start("nats-server", "--jetstream", "--store_dir", turn.directory / "store", "-a", "127.0.0.1", "-p", port)
    turn.listens(port)
    url = f"nats://127.0.0.1:{port}"
    turn.start(options.nats, "worker", url)
    return told(turn.run(options.nats, "submit", url, tasks, options.bytes, OUTSTANDING), tasks)


def gearmand(turn, options, tasks):
    port = free_port()
    turn.start("gearmand", "--listen", "127.0.0.1", "--port", port, "--log-file", "stderr", "--verbose", "ERROR")
    turn.listens(port)
    turn.start(options.gearman, "worker", port)
    return told(turn.run(options.gearman, "submit", port, tasks, options.bytes), tasks)


def beanstalkd(turn, options, tasks):
    port, binlog = free_port(), turn.directory / "binlog"
    binlog.mkdir()
    turn.start("beanstalkd", "-l", "127.0.0.1", "-p", port, "-b", binlog, "-f0")
    turn.listens(port)
    return python_peer("beanstalkd", f"127.0.0.1:{port}", turn, options, tasks)


def rabbitmq(turn, options, tasks):
    ports = [free_port() for _ in range(3)]
    directory = turn.directory / "rabbitmq"
    directory.mkdir()
    (directory / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{ports[0]}\n")
    (directory / "plugins").write_text("[].\n")
    environment = {
        "HOME": str(directory),
        "RABBITMQ_NODENAME": f"compare-{ports[0]}@localhost",
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_DIST_PORT": str(ports[1]),
        "ERL_EPMD_PORT": str(ports[2]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    server = next(Path("/usr/lib/rabbitmq").glob("lib/rabbitmq_server-*/sbin/rabbitmq-server"))
    turn.start(server, env=environment)
    turn.listens(ports[0])
    return python_peer("rabbitmq", f"amqp://guest:guest@127.0.0.1:{ports[0]}/%2F", turn, options, tasks)


def celery(turn, options, tasks):
    port = free_port()
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    turn.start("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", turn.directory, *durable)
    turn.listens(port)
    return python_peer("celery", f"redis://127.0.0.1:{port}/0", turn, options, tasks)


def recipe(turn, options, tasks):
    return python_peer("recipe", turn.zookeeper(), turn, options, tasks)


# Who runs it, and tasks as a part of what is asked for: the slow ones get fewer.
PEERS = {
    "herdsman": (herdsman, 1),
    "herdsman-node": (node, 1),
    "herdsman-unpacked": (unpacked, 0.4),
    "nats": (nats, 1),
    "gearmand": (gearmand, 0.5),
    "rabbitmq": (rabbitmq, 0.1),
    "beanstalkd": (beanstalkd, 0.04),
    "celery": (celery, 0.02),
    "recipe": (recipe, 0.004),
}
TITLES = {
    "limit": ("the ZooKeeper under Herdsman, alone", "a node a task, by Herdsman's own commits, fsync on"),
    "herdsman": ("Herdsman, batched submits", "ZooKeeper with fsync; SubmitTasks of 500, 8 calls at once"),
    "herdsman-unary": ("Herdsman, unary submits", "the same; 256 SubmitTask calls at once"),
    "herdsman-unpacked": ("Herdsman, a node a task", "batched submits, `master --packing off`"),
    "herdsman-node": ("Herdsman, one node", "batched submits, `herdsman node`: the three roles as one process"),
    "nats": ("NATS JetStream", "work queue on file, at its default: no fsync of each message; async-nats (Rust), 4,000 publishes at once"),
    "gearmand": ("gearmand", "in memory: nothing survives it; libgearman (C)"),
    "rabbitmq": ("RabbitMQ", "quorum queue, publisher confirms, replies by a queue; pika (Python)"),
    "beanstalkd": ("beanstalkd", "binlog, fsync of each write; greenstalk (Python)"),
    "celery": ("Celery", "Redis with appendfsync always, acks late, results in Redis"),
    "recipe": ("the recipe of master and worker", "kazoo (Python) on the same ZooKeeper: watches, one write at a time"),
}


def versions():
    """Of what Debian and PyPI gave."""
    debian = ["zookeeper", "nats-server", "gearman-job-server", "rabbitmq-server", "beanstalkd", "redis-server"]
    asked = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *debian]
    servers = subprocess.run(asked, capture_output=True, text=True).stdout
    clients = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pika", "greenstalk", "celery", "kazoo"))
    return servers + clients


def rounds(options):
    """Everything in turn, round by round, so that a change of the machine's mood meets all of them."""
    found = {}
    for number in range(1, options.rounds + 1):
        for name in options.only:
            peer, part = PEERS[name]
            tasks = max(100, int(options.tasks * part))
            with Turn(name, options.herdsman) as turn:
                try:
                    result = peer(turn, options, tasks)
                except (Failed, subprocess.TimeoutExpired) as failure:
                    sys.exit(f"compare: {name}: {failure}")
            result = result if name == "herdsman" else {name: result}
            for key, figures in result.items():
                found.setdefault(key, []).append(figures)
                print(f"round {number}: {key}: {figures['per_s']:.0f}/s", file=sys.stderr, flush=True)
    return found


def medians(found):
    return {
        name: {key: statistics.median(figures[key] for figures in all_rounds) for key in ("per_s", "p50_ms", "p99_ms")}
        for name, all_rounds in found.items()
    }


def times(ratio):
    return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def table(found):
    figures = medians(found)
    bases = [figures.get(name, {}).get("per_s") for name in ("herdsman", "herdsman-node")]
    lines = [
        "| system | as it was set | tasks/s | Herdsman, batched, is | one node of it is | one task alone, p50 / p99 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in sorted(figures, key=lambda name: -figures[name]["per_s"]):
        title, settings = TITLES[name]
        row = figures[name]
        ratios = " | ".join(times(base / row["per_s"]) if base else "" for base in bases)
        lines.append(
            f"| {title} | {settings} | {row['per_s']:,.0f} | {ratios} | {row['p50_ms']:.2f} / {row['p99_ms']:.2f} ms |"
        )
    return "\n".join(lines)


def write(found, before, options):
    """The page's block, and its plot."""
    said = (
        f"{options.rounds} rounds of {options.tasks:,} tasks of {options.bytes} bytes (fewer for the slow ones), in turn; "
        f"medians. {machine()}; all processes of a system, its clients and workers included, on these cores; {before}. "
        f"Versions: {versions()}."
    )
    body = f"{said}\n\n{table(found)}\n\n![tasks a second](performance.svg)"
    write_block(ROOT / "docs/PERFORMANCE.md", "benches/compare/run", body)
    bars = {TITLES[name][0]: row["per_s"] for name, row in medians(found).items()}
    (ROOT / "docs/performance.svg").write_text(chart.svg(bars, "completed tasks a second (each step is ten times more)"))


def main():
    parser = argparse.ArgumentParser(prog="benches/compare/run", description="Herdsman and its peers on the same work.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=100_000, help="of the fast ones; the slow ones get a part of it")
    parser.add_argument("--bytes", type=int, default=64, help="of payload, at least 8")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--write", action="store_true", help="docs/PERFORMANCE.md and docs/performance.svg")
    for program in ("herdsman", "nats", "gearman"):
        parser.add_argument(f"--{program}", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.only) - set(PEERS)
    if unknown or options.bytes < 8 or options.rounds < 1 or options.tasks < 1:
        parser.error(f"--only is of {','.join(PEERS)}; --bytes at least 8; --rounds and --tasks at least 1")
    end_well_when_told_to()
    before = load()
    found = rounds(options)
    print(f"{machine()}, {before}\n\n{table(found)}")
    if options.write:
        write(found, before, options)


if __name__ == "__main__":
    main()
