"""The work that is compared, on every peer: a submitter hands N tasks of so many bytes over and is told of each one's
end; a worker in a process of its own does nothing with each, and says that it is done.

    peers.py PEER worker ADDRESS
    peers.py PEER submit ADDRESS TASKS BYTES

A submitter prints one JSON object: the seconds from the first submit to the last end, and the latencies of tasks that
were submitted one at a time. The settings of each peer's server are in compare.py.
"""

import itertools
import json
import struct
import sys
import threading
import time

LATENCIES = 200
# Longest wait for anything.
LIMIT = 120


def payload(number, size):
    return struct.pack("<Q", number).ljust(size, b"x")


def number_of(body):
    return struct.unpack_from("<Q", body)[0]


class Ends:
    """Which tasks have ended; some peers may tell one twice."""

    def __init__(self):
        self.changed = threading.Condition()
        self.ended = set()

    def told(self, number):
        with self.changed:
            self.ended.add(number)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.ended) >= count, LIMIT):
                sys.exit(f"only {len(self.ended)} of {count} tasks have ended within {LIMIT} s")


def measure(tasks, submit_all, ends):
    """submit_all(numbers) submits a task for each number and returns when the peer has taken them."""
    # The worker may be starting still.
    submit_all([0])
    ends.wait(1)
    start = time.monotonic()
    submit_all(range(1, tasks + 1))
    ends.wait(tasks + 1)
    seconds = time.monotonic() - start
    latencies = []
    for number in range(tasks + 1, tasks + 1 + LATENCIES):
        start = time.monotonic()
        submit_all([number])
        ends.wait(number + 1)
        latencies.append((time.monotonic() - start) * 1000)
    print(json.dumps({"seconds": seconds, "latencies_ms": latencies}), flush=True)


# --- beanstalkd: a job is put, reserved and deleted; the end is told by a job in another tube. -------------------------

# Connections that put, and that reserve: the server fsyncs one write after the other, so more gain nothing.
BEANSTALK_LANES = 4


def beanstalk(address, **tubes):
    import greenstalk

    host, port = address.rsplit(":", 1)
    return greenstalk.Client((host, int(port)), encoding=None, **tubes)


def beanstalkd_worker(address):
    def serve():
        client = beanstalk(address, watch="tasks", use="ends")
        while True:
            job = client.reserve()
            client.put(job.body[:8])
            client.delete(job)

    lanes = [threading.Thread(target=serve) for _ in range(BEANSTALK_LANES)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()


def beanstalkd_submit(address, tasks, size):
    ends = Ends()

    def listen():
        client = beanstalk(address, watch="ends")
        while True:
            job = client.reserve()
            ends.told(number_of(job.body))
            client.delete(job)

    threading.Thread(target=listen, daemon=True).start()
    lanes = [beanstalk(address, use="tasks") for _ in range(BEANSTALK_LANES)]

    def submit_all(numbers):
        def lane(client, mine):
            for number in mine:
                client.put(payload(number, size))

        parts = [numbers[at :: len(lanes)] for at in range(len(lanes))]
        threads = [threading.Thread(target=lane, args=pair) for pair in zip(lanes, parts) if pair[1]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measure(tasks, submit_all, ends)


# --- RabbitMQ: a quorum queue, persistent messages with publisher confirms, prefetch; the end by reply-to. -------------

PREFETCH = 500


def rabbitmq_declare(channel):
    channel.queue_declare("tasks", durable=True, arguments={"x-queue-type": "quorum"})


def rabbitmq_worker(address):
    import pika

    channel = pika.BlockingConnection(pika.URLParameters(address)).channel()
    rabbitmq_declare(channel)
    channel.basic_qos(prefetch_count=PREFETCH)

    def serve(channel, method, properties, body):
        channel.basic_publish("", properties.reply_to, body[:8])
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume("tasks", serve)
    channel.start_consuming()


def rabbitmq_submit(address, tasks, size):
    import pika

    ends, confirmed, ready = Ends(), Ends(), threading.Event()
    state = {"published": 0, "all_up_to": 0}

    def on_confirm(frame):
        if not isinstance(frame.method, pika.spec.Basic.Ack):
            sys.exit("RabbitMQ refused a message")
        last = frame.method.delivery_tag
        with confirmed.changed:
            if frame.method.multiple:
                confirmed.ended.update(range(state["all_up_to"] + 1, last + 1))
                state["all_up_to"] = last
            confirmed.ended.add(last)
            confirmed.changed.notify_all()

    def on_queue(channel):
        def consume(declared):
            state["reply_to"] = declared.method.queue
            told = lambda _channel, _method, _properties, body: ends.told(number_of(body))
            channel.basic_consume(declared.method.queue, told, auto_ack=True, callback=lambda _: ready.set())

        channel.confirm_delivery(on_confirm)
        arguments = {"x-queue-type": "quorum"}
        channel.queue_declare("tasks", durable=True, arguments=arguments)
        channel.queue_declare("", exclusive=True, callback=consume)
        state["channel"] = channel

    connection = pika.SelectConnection(
        pika.URLParameters(address), on_open_callback=lambda c: c.channel(on_open_callback=on_queue)
    )
    threading.Thread(target=connection.ioloop.start, daemon=True).start()
    if not ready.wait(LIMIT):
        sys.exit("RabbitMQ did not answer")
    properties = pika.BasicProperties(delivery_mode=2, reply_to=state["reply_to"])

    def submit_all(numbers):
        def publish(some):
            for number in some:
                state["channel"].basic_publish("", "tasks", payload(number, size), properties)

        for at in range(0, len(numbers), PREFETCH):
            some = list(numbers[at : at + PREFETCH])
            connection.ioloop.add_callback_threadsafe(lambda some=some: publish(some))
            state["published"] += len(some)
            # Not more than a few hundred unconfirmed at once, as its guide says.
            confirmed.wait(state["published"] - PREFETCH)
        confirmed.wait(state["published"])

    measure(tasks, submit_all, ends)


# --- Celery on Redis: acks late, results told by the result backend. ---------------------------------------------------

CELERY_PROCESSES = 2


def celery_app(address):
    from celery import Celery

    app = Celery("compare", broker=address, backend=address)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=64, task_ignore_result=False)

    @app.task(name="noop")
    def noop(_payload):
        return None

    return app, noop


def celery_worker(address):
    app, _ = celery_app(address)
    app.worker_main(
        ["worker", "--loglevel=ERROR", f"--concurrency={CELERY_PROCESSES}", "--without-gossip", "--without-mingle"]
    )


def celery_submit(address, tasks, size):
    _, noop = celery_app(address)
    ends = Ends()

    def submit_all(numbers):
        # Of JSON, so text.
        results = [noop.delay("x" * size) for _ in numbers]
        for number, result in zip(numbers, results):
            result.get(timeout=LIMIT)
            ends.told(number)

    measure(tasks, submit_all, ends)


# --- The original recipe: master, worker and client on ZooKeeper with watches, one write at a time. --------------------
# /tasks/task-N and, when it has ended, /tasks/task-N/status; /workers/W; /assign/W/task-N. The master watches the
# children of /tasks and /workers, the worker those of /assign/W, the client the status of its task.


def recipe_client(address):
    from kazoo.client import KazooClient

    zookeeper = KazooClient(hosts=f"{address}/recipe", timeout=10)
    zookeeper.start()
    # Whoever comes first; a submitter may.
    for path in ("/", "/tasks", "/workers/w1", "/assign/w1"):
        zookeeper.ensure_path(path)
    return zookeeper


def recipe_worker(address):
    """Master and worker, a process each."""
    import multiprocessing

    roles = [multiprocessing.Process(target=role, args=(address,)) for role in (recipe_master, recipe_hand)]
    for role in roles:
        role.start()
    for role in roles:
        role.join()


def recipe_children(zookeeper, path, act):
    """Acts once on every child of a node, in the order of their names; a watch tells of new ones."""
    changed, seen = threading.Event(), set()
    while True:
        changed.clear()
        children = zookeeper.get_children(path, watch=lambda _: changed.set())
        for child in sorted(set(children) - seen):
            act(child)
        seen = set(children)
        changed.wait()


def recipe_master(address):
    zookeeper = recipe_client(address)
    workers = itertools.cycle(zookeeper.get_children("/workers"))

    def assign(task):
        if not zookeeper.exists(f"/tasks/{task}/status"):
            data, _ = zookeeper.get(f"/tasks/{task}")
            zookeeper.create(f"/assign/{next(workers)}/{task}", data)

    recipe_children(zookeeper, "/tasks", assign)


def recipe_hand(address):
    zookeeper = recipe_client(address)

    def run(task):
        zookeeper.get(f"/assign/w1/{task}")
        zookeeper.create(f"/tasks/{task}/status", b"done")
        zookeeper.delete(f"/assign/w1/{task}")

    recipe_children(zookeeper, "/assign/w1", run)


def recipe_submit(address, tasks, size):
    zookeeper = recipe_client(address)
    ends = Ends()

    def submit_all(numbers):
        for number in numbers:
            task = zookeeper.create("/tasks/task-", payload(number, size), sequence=True)
            told = lambda _event, number=number: ends.told(number)
            if zookeeper.exists(f"{task}/status", watch=told):
                ends.told(number)

    measure(tasks, submit_all, ends)


def main():
    peer, role, address, *rest = sys.argv[1:]
    globals()[f"{peer}_{role}"](address, *map(int, rest))


if __name__ == "__main__":
    main()
