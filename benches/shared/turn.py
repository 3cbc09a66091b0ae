"""What benches/compare and benches/figures start: every server anew for its turn, on 127.0.0.1 only, with its data below
one directory of the turn's, and stopped by its process id."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

# A server that does not listen after this never will.
START_LIMIT = 60
# Longest run of one submitter.
RUN_LIMIT = 600
# For a ZooKeeper that is to answer as fast as it can.
JVM = ("-Xmx4g",)


class Failed(Exception):
    pass


def end_well_when_told_to():
    """SIGTERM ends a program as Ctrl-C does, so that nothing that it started is left."""

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Turn:
    """One turn: its processes and their directory, gone when it ends."""

    def __init__(self, name, herdsman=None):
        self.directory = Path(tempfile.mkdtemp(prefix=f"herdsman-bench-{name}-"))
        self.herdsman = herdsman
        self.processes = []
        self.ended = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *command, env=None):
        """Starts a process in a group of its own."""
        log = (self.directory / f"log-{len(self.processes)}").open("wb")
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def kill(self, process):
        """As a machine that loses its power would."""
        self.end(process, signal.SIGKILL)

    def end(self, process, how=signal.SIGTERM):
        self.ended.add(process.pid)
        os.killpg(process.pid, how)
        process.wait()

    def listens(self, port):
        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True

        self.wait(answers, f"somebody to listen on {port}")

    def wait(self, until, what, limit=START_LIMIT, pause=0.05):
        """Until it is so; gives what it gave."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for process in self.processes:
                if process.poll() is not None and process.pid not in self.ended:
                    raise Failed(f"{process.args[0]} ended with {process.returncode}: {self.logs()}")
            found = until()
            if found:
                return found
            time.sleep(pause)
        raise Failed(f"waited in vain for {what}: {self.logs()}")

    def logs(self):
        texts = [path.read_text(errors="replace")[-500:] for path in sorted(self.directory.glob("log-*"))]
        return " | ".join(" ".join(text.split()) for text in texts if text.strip())

    def run(self, *command, well=(0,), limit=RUN_LIMIT):
        """Runs a submitter to its end; gives the JSON of its last line."""
        return json.loads(self.output(*command, well=well, limit=limit).splitlines()[-1])

    def output(self, *command, well=(0,), limit=RUN_LIMIT):
        """What it prints."""
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=limit, cwd=self.directory
        )
        if done.returncode not in well:
            raise Failed(f"{command[0]} ended with {done.returncode}: {done.stderr[-1000:]} {self.logs()}")
        return done.stdout

    def zookeeper(self, servers=1, jvm=JVM):
        """One server, or an ensemble, with fsync on; where it listens."""
        home = os.environ.get("ZOOKEEPER_HOME")
        jars = "/usr/share/java"
        class_path = f"{home}/lib/*" if home else f"{jars}/zookeeper.jar:{jars}/slf4j-simple.jar"
        java = ("java", *jvm, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", class_path)
        ports = [[free_port() for _ in range(3)] for _ in range(servers)]
        quorum = {
            f"server.{number}": f"127.0.0.1:{peer}:{election}"
            for number, (_, peer, election) in enumerate(ports, 1)
        }
        for number, (port, _, _) in enumerate(ports, 1):
            directory = self.directory / f"zookeeper-{port}"
            directory.mkdir()
            settings = {
                "tickTime": 1000,
                "initLimit": 10,
                "syncLimit": 5,
                "dataDir": directory,
                "clientPort": port,
                "clientPortAddress": "127.0.0.1",
                "maxClientCnxns": 0,
                "admin.enableServer": "false",
                "4lw.commands.whitelist": "*",
            }
            main = "org.apache.zookeeper.server.ZooKeeperServerMain"
            if servers > 1:
                settings.update(quorum)
                (directory / "myid").write_text(str(number))
                main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
            (directory / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
            self.start(*java, main, directory / "zoo.cfg")
        for port, _, _ in ports:
            self.wait(lambda port=port: serves(port), f"a ZooKeeper at {port}")
        return ",".join(f"127.0.0.1:{port}" for port, _, _ in ports)

    def role(self, role, place, *options):
        """Starts one role of a cluster."""
        port = free_port()
        listen = ("--zookeeper", place, "--listen", f"127.0.0.1:{port}")
        process = self.start(self.herdsman, role, *listen, *options, env={"HERDSMAN_LOG": "warn"})
        return Role(process, port)

    def embedded(self, *options):
        """`herdsman dev`, with its tasks on disk."""
        port = free_port()
        listen = ("--listen", f"127.0.0.1:{port}", "--data-dir", self.directory / "dev")
        role = Role(self.start(self.herdsman, "dev", *listen, *options, env={"HERDSMAN_LOG": "warn"}), port)
        self.listens(port)
        return role

    def node(self, place, *options):
        """`herdsman node`: the three roles as one process."""
        others = ("--master-listen", "127.0.0.1:0", "--worker-listen", "127.0.0.1:0")
        role = self.role("node", place, *others, *options)
        self.listens(role.port)
        return role

    def cluster(self, place, master=(), worker=("--slots", 1000), masters=1, workers=1):
        """The three roles, a process each, unless there are to be more masters, or other workers; they listen."""
        roles = {
            "masters": [self.role("master", place, *master) for _ in range(masters)],
            "workers": [self.role("worker", place, *worker) for _ in range(workers)],
            "client": self.role("client", place),
        }
        for role in (*roles["masters"], *roles["workers"], roles["client"]):
            self.listens(role.port)
        return roles


class Role:
    """A process of Herdsman."""

    def __init__(self, process, port):
        self.process, self.port = process, port
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    def memory(self):
        """Resident, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) * 1024

    def cpu_seconds(self):
        """That it has used so far, in user space and in the kernel."""
        return cpu_seconds(self.process)

    def metric(self, name):
        """The value of one of its metrics, as it is written with its labels; zero if it is not there."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)


def cpu_seconds(process):
    """That it has used so far, in user space and in the kernel."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serves(port):
    """Whether a ZooKeeper answers there, as one that leads, follows or is alone."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as asked:
        asked.sendall(b"srvr")
        answer = b""
        while part := asked.recv(4096):
            answer += part
        return b"Mode: " in answer
