//! What a master counts.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::outbox::Done;
use crate::domain::{Change, QueueSettings, Scheduler, TaskState, Term, scheduler::Note};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    timeout: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueAndState {
    queue: String,
    state: &'static str,
}

/// Of a queue these are told by name: what waits and what runs.
const TOLD_OF_A_QUEUE: [TaskState; 3] = [TaskState::Pending, TaskState::Assigned, TaskState::Running];

#[derive(Clone)]
pub(super) struct Metrics {
    leader: Gauge,
    term: Gauge<u64, AtomicU64>,
    tasks: Family<State, Gauge>,
    /// Only of queues with settings of their own: an operator has named them, and they are at most a thousand. Whoever
    /// submits tasks cannot make more of them.
    queue_tasks: Family<QueueAndState, Gauge>,
    queues: Gauge,
    bytes: Gauge,
    corrupt: Gauge,
    workers: Gauge,
    slots: Gauge,
    busy: Gauge,
    drained: Gauge,
    client_links: Gauge,
    in_flight: Gauge,
    changes: Family<What, Counter>,
    commit_seconds: Histogram,
    commit_changes: Histogram,
    lost_workers: Counter,
    stale_reports: Counter,
    retries: Counter,
    timeouts: Family<Which, Counter>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            term: Gauge::default(),
            tasks: Family::default(),
            queue_tasks: Family::default(),
            queues: Gauge::default(),
            bytes: Gauge::default(),
            corrupt: Gauge::default(),
            workers: Gauge::default(),
            slots: Gauge::default(),
            busy: Gauge::default(),
            drained: Gauge::default(),
            client_links: Gauge::default(),
            in_flight: Gauge::default(),
            changes: Family::default(),
            // 0.25 ms to 4 s.
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            commit_changes: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            lost_workers: Counter::default(),
            stale_reports: Counter::default(),
            retries: Counter::default(),
            timeouts: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("herdsman_master");
        registry.register("leader", "1 while this master leads", metrics.leader.clone());
        registry.register("term", "Number of the leadership that this master holds or last held", metrics.term.clone());
        registry.register("tasks", "Tasks in each state", metrics.tasks.clone());
        registry.register(
            "queue_tasks",
            "Tasks of each queue with settings of its own, by those of the states that have not ended",
            metrics.queue_tasks.clone(),
        );
        registry.register("queues", "Queues with tasks, or with settings of their own", metrics.queues.clone());
        registry.register("task_bytes", "What the tasks occupy in the store, estimated", metrics.bytes.clone());
        registry.register("corrupt_records", "Stored records set aside as unreadable", metrics.corrupt.clone());
        registry.register("workers", "Workers with a link", metrics.workers.clone());
        registry.register("slots", "Slots of the workers with a link", metrics.slots.clone());
        registry.register("busy_slots", "Slots that hold an attempt", metrics.busy.clone());
        registry.register("drained_workers", "Workers that are drained, with a link or not", metrics.drained.clone());
        registry.register("client_links", "Client services with a link", metrics.client_links.clone());
        registry.register("commits_in_flight", "Commits that the store has not confirmed", metrics.in_flight.clone());
        registry.register("changes", "Decisions made durable, by what they are", metrics.changes.clone());
        registry.register(
            "commit_duration_seconds",
            "From the issue of a commit to its confirmation",
            metrics.commit_seconds.clone(),
        );
        registry.register("commit_changes", "Decisions in one commit", metrics.commit_changes.clone());
        registry.register("lost_workers", "Workers given up for lost", metrics.lost_workers.clone());
        registry.register("stale_reports", "Reports for attempts that were not current", metrics.stale_reports.clone());
        registry.register("retries", "Attempts that failed and are followed by another", metrics.retries.clone());
        registry.register("timeouts", "Attempts, waits and tasks that took too long", metrics.timeouts.clone());
        metrics
    }

    pub fn leads(&self, term: Term) {
        self.leader.set(1);
        self.term.set(term.0);
    }

    /// Only a leader knows the rest: a standby shows nothing old.
    pub fn follows(&self) {
        self.leader.set(0);
        self.tasks.clear();
        self.queue_tasks.clear();
        let totals = [&self.queues, &self.bytes, &self.corrupt, &self.workers, &self.slots, &self.busy, &self.drained];
        for gauge in totals {
            gauge.set(0);
        }
        self.client_links.set(0);
        self.in_flight.set(0);
    }

    pub fn observe(&self, scheduler: &Scheduler) {
        let totals = scheduler.totals();
        for state in TaskState::ALL {
            self.tasks.get_or_create(&State { state: name(state) }).set(signed(scheduler.count(state)));
        }
        self.queues.set(signed(totals.queues));
        for (queue, counts) in scheduler.configured_queues() {
            for state in TOLD_OF_A_QUEUE {
                let told = QueueAndState { queue: queue.to_string(), state: name(state) };
                self.queue_tasks.get_or_create(&told).set(signed(counts[state as usize]));
            }
        }
        self.bytes.set(signed(totals.bytes));
        self.corrupt.set(signed(totals.corrupt_records));
        self.workers.set(totals.workers.into());
        self.slots.set(totals.slots.into());
        self.busy.set(totals.busy_slots.into());
        self.drained.set(signed(totals.drained_workers));
    }

    pub fn links(&self, clients: usize) {
        self.client_links.set(signed(clients as u64));
    }

    pub fn in_flight(&self, commits: usize) {
        self.in_flight.set(signed(commits as u64));
    }

    pub fn committed(&self, done: Done) {
        let took: Duration = done.issue.elapsed();
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_changes.observe(f64::from(u32::try_from(done.changes).unwrap_or(u32::MAX)));
    }

    pub fn change(&self, change: &Change) {
        if let Change::QueueSet { queue, settings } = change
            && *settings == QueueSettings::default()
        {
            for state in TOLD_OF_A_QUEUE {
                self.queue_tasks.remove(&QueueAndState { queue: queue.to_string(), state: name(state) });
            }
        }
        let what = match change {
            Change::Submitted(_) => "submitted",
            Change::Assigned(_) => "assigned",
            Change::GivenBack { .. } => "given_back",
            Change::Finished { .. } => "finished",
            Change::Removed { .. } => "removed",
            Change::Swept { .. } => "swept",
            Change::WorkerForgotten { .. } => "worker_forgotten",
            Change::QueueSet { .. } => "queue_set",
            Change::DrainSet { .. } => "drain_set",
        };
        self.changes.get_or_create(&What { what }).inc();
    }

    pub fn note(&self, note: &Note) {
        match note {
            Note::WorkerLost { worker, attempts } => {
                tracing::warn!(%worker, attempts, "a worker is lost; its attempts go elsewhere");
                self.lost_workers.inc();
            }
            Note::Emptied { worker } => tracing::info!(%worker, "a drained worker is empty"),
            Note::StaleReport { worker, report, task_id, attempt } => {
                tracing::info!(%worker, report, %task_id, attempt, "a report for an attempt that is not current");
                self.stale_reports.inc();
            }
            Note::Retried { task_id, attempt, wait } => {
                tracing::debug!(%task_id, attempt, ?wait, "an attempt failed, and is followed by another");
                self.retries.inc();
            }
            Note::TimedOut { task_id, attempt, timeout } => {
                tracing::info!(%task_id, attempt, timeout = timeout.name(), "it took too long");
                self.timeouts.get_or_create(&Which { timeout: timeout.name() }).inc();
            }
        }
    }
}

fn name(state: TaskState) -> &'static str {
    match state {
        TaskState::Pending => "pending",
        TaskState::Assigned => "assigned",
        TaskState::Running => "running",
        TaskState::Succeeded => "succeeded",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
