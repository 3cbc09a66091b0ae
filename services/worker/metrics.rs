//! What a worker counts, as Prometheus reads it.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::domain::{Report, Term, Wall};

/// From what takes a millisecond to what takes an hour.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone)]
pub struct Metrics {
    started: Counter,
    ended: Family<OutcomeLabel, Counter>,
    duration: Histogram,
    running: Gauge,
    taken: Gauge,
    linked: Gauge,
    term: Gauge<u64, AtomicU64>,
    links: Counter,
    pub(super) invalid_progress: Counter,
}

impl Metrics {
    pub fn new(registry: &mut Registry, slots: u32) -> Self {
        let metrics = Self {
            started: Counter::default(),
            ended: Family::default(),
            duration: Histogram::new(SECONDS),
            running: Gauge::default(),
            taken: Gauge::default(),
            linked: Gauge::default(),
            term: Gauge::default(),
            links: Counter::default(),
            invalid_progress: Counter::default(),
        };
        let offered: Gauge = Gauge::default();
        offered.set(slots.into());
        let (m, r) = (&metrics, registry);
        r.register("herdsman_worker_attempts_started", "Attempts started", m.started.clone());
        r.register("herdsman_worker_attempts_ended", "Attempts ended, by outcome", m.ended.clone());
        r.register(
            "herdsman_worker_attempt_duration_seconds",
            "How long attempts ran, by wall clock",
            m.duration.clone(),
        );
        r.register("herdsman_worker_attempts_running", "Attempts that run", m.running.clone());
        r.register("herdsman_worker_slots", "Slots offered", offered);
        r.register("herdsman_worker_busy_slots", "Slots with an attempt or a report not acknowledged", m.taken.clone());
        r.register("herdsman_worker_link_up", "1 while linked to a leader", m.linked.clone());
        r.register("herdsman_worker_links", "Links that a leader welcomed", m.links.clone());
        r.register("herdsman_worker_link_term", "Highest term that it was welcomed to", m.term.clone());
        r.register(
            "herdsman_worker_invalid_progress_lines",
            "Lines on HERDSMAN_PROGRESS_FD that could not be read",
            m.invalid_progress.clone(),
        );
        metrics
    }

    pub fn started(&self) {
        self.started.inc();
    }

    pub fn ended(&self, report: &Report, now: Wall) {
        let (outcome, start) = match report {
            Report::Started { .. } | Report::Progress { .. } => return,
            Report::Succeeded { start_time, .. } => ("succeeded", Some(start_time)),
            Report::Failed { start_time, .. } => ("failed", Some(start_time)),
            Report::Stopped { .. } => ("cancelled", None),
            Report::GivenBack { .. } => ("given_back", None),
        };
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
        if let Some(start) = start {
            let millis = u32::try_from(now.0.saturating_sub(start.0)).unwrap_or(u32::MAX);
            self.duration.observe(f64::from(millis) / 1_000.0);
        }
    }

    pub fn given_back(&self, attempts: usize) {
        self.ended.get_or_create(&OutcomeLabel { outcome: "given_back" }).inc_by(attempts as u64);
    }

    pub fn set_slots(&self, running: usize, taken: usize) {
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.taken.set(i64::try_from(taken).unwrap_or(i64::MAX));
    }

    /// None: the link is down.
    pub fn set_link(&self, term: Option<Term>) {
        self.linked.set(term.is_some().into());
        if let Some(term) = term {
            self.links.inc();
            self.term.set(term.0);
        }
    }
}
