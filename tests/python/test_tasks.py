"""Herdsman through a client that grpcio-tools generated from proto/, as a user's own would be.

Run by tests/debugging.rs: HERDSMAN_SERVER is host:port of a client service, PYTHONPATH has the generated modules.
"""

import os
import unittest

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from herdsman.v1 import cluster_pb2, cluster_pb2_grpc, task_pb2, task_pb2_grpc

# For one call, watches included. A limit, not an expectation.
LIMIT_SECONDS = 60


class Tasks(unittest.TestCase):
    def setUp(self):
        channel = grpc.insecure_channel(os.environ["HERDSMAN_SERVER"])
        self.addCleanup(channel.close)
        self.tasks = task_pb2_grpc.TaskServiceStub(channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(channel)

    def submit(self, kind, payload=b"", task_id=""):
        spec = task_pb2.TaskSpec(kind=kind, payload=payload)
        request = task_pb2.SubmitTaskRequest(task_id=task_id, spec=spec)
        return self.tasks.SubmitTask(request, timeout=LIMIT_SECONDS).task

    def watch(self, task_id, after_revision=0):
        request = task_pb2.WatchTaskRequest(task_id=task_id, after_revision=after_revision)
        return [event.task for event in self.tasks.WatchTask(request, timeout=LIMIT_SECONDS)]

    def refusal(self, call):
        """The code of a call that is refused, and its details by their type."""
        with self.assertRaises(grpc.RpcError) as refused:
            call()
        details = {}
        for detail in rpc_status.from_call(refused.exception).details:
            for kind in (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo):
                if detail.Is(kind.DESCRIPTOR):
                    details[kind] = kind()
                    detail.Unpack(details[kind])
        return refused.exception.code(), details

    def assert_refuses_field(self, field, call):
        code, details = self.refusal(call)
        self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT)
        violations = details[error_details_pb2.BadRequest].field_violations
        self.assertEqual([violation.field for violation in violations], [field])

    def test_a_task_is_submitted_and_watched_to_its_result(self):
        task = self.submit("echo", b"from \xff Python")
        seen = self.watch(task.task_id)
        self.assertEqual(seen[-1].state, task_pb2.TASK_STATE_SUCCEEDED)
        self.assertEqual(seen[-1].result, b"from \xff Python")
        self.assertEqual(seen[-1].attempt, 1)
        revisions = [event.revision for event in seen]
        self.assertEqual(revisions, sorted(set(revisions)), "revisions do not strictly grow")

    def test_a_watch_resumes_after_the_revision_that_it_saw(self):
        task = self.submit("sleep", b"300ms")
        request = task_pb2.WatchTaskRequest(task_id=task.task_id)
        stream = self.tasks.WatchTask(request, timeout=LIMIT_SECONDS)
        first = next(stream).task
        stream.cancel()
        rest = self.watch(task.task_id, after_revision=first.revision)
        self.assertEqual(rest[-1].state, task_pb2.TASK_STATE_SUCCEEDED)
        for event in rest:
            self.assertGreater(event.revision, first.revision)

    def test_the_end_of_a_task_is_told_however_late_one_asks(self):
        task = self.submit("noop")
        end = self.watch(task.task_id)[-1]
        again = self.watch(task.task_id, after_revision=end.revision)
        self.assertEqual([event.revision for event in again], [end.revision])

    def test_a_bad_field_is_named(self):
        self.assert_refuses_field("task_id", lambda: self.submit("echo", task_id="../etc/passwd"))
        self.assert_refuses_field("spec.kind", lambda: self.submit("Not A Kind"))
        self.assert_refuses_field("spec.payload", lambda: self.submit("echo", b"x" * (64 * 1024 + 1)))

    def test_one_id_with_two_specs_is_refused_with_its_reason(self):
        self.submit("echo", b"one", task_id="python-once")
        same = self.submit("echo", b"one", task_id="python-once")
        self.assertEqual(same.task_id, "python-once")
        code, details = self.refusal(lambda: self.submit("echo", b"two", task_id="python-once"))
        self.assertEqual(code, grpc.StatusCode.ALREADY_EXISTS)
        info = details[error_details_pb2.ErrorInfo]
        self.assertEqual((info.domain, info.reason), ("herdsman", "TASK_EXISTS"))
        self.assertEqual(info.metadata["task_id"], "python-once")

    def test_an_unknown_task_is_not_found(self):
        request = task_pb2.GetTaskRequest(task_id="nobody-submitted-this")
        code, _ = self.refusal(lambda: self.tasks.GetTask(request, timeout=LIMIT_SECONDS))
        self.assertEqual(code, grpc.StatusCode.NOT_FOUND)

    def test_the_cluster_names_its_leader_and_its_workers(self):
        cluster = self.cluster.GetCluster(cluster_pb2.GetClusterRequest(), timeout=LIMIT_SECONDS).cluster
        self.assertGreaterEqual(cluster.leader.term, 1)
        workers = self.cluster.ListWorkers(cluster_pb2.ListWorkersRequest(), timeout=LIMIT_SECONDS).workers
        self.assertEqual([worker.state for worker in workers], [cluster_pb2.WORKER_STATE_READY])
        self.assertIn("echo", workers[0].kinds)


if __name__ == "__main__":
    unittest.main()
