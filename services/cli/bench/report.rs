//! What a bench says: a table for people, or one JSON object. The field names of the JSON are a promise: they are
//! explained in docs/BENCH.md.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::{exit::Failure, output::Output};

/// How many tasks, by what became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Totals {
    pub(super) submitted: u64,
    pub(super) accepted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    /// By the code of the refusal.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    p90: f64,
    pub(super) p99: f64,
    p999: f64,
    pub(super) max: f64,
}

impl Latency {
    /// Of microseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        // Above an hour is no latency.
        let ms = |micros| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: ms(histogram.max()) }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let values = [self.p50, self.p90, self.p99, self.p999, self.max];
        std::iter::once(name.to_owned()).chain(values.map(|value| format!("{value:.2}"))).collect()
    }
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClusterSeen {
    pub(super) server: String,
    pub(super) leader: String,
    pub(super) version: String,
    /// That serve the kind.
    pub(super) workers: usize,
    pub(super) slots: i64,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Work {
    pub(super) mode: &'static str,
    pub(super) batch: usize,
    /// Of a closed loop.
    pub(super) outstanding: Option<usize>,
    pub(super) next_after: Option<&'static str>,
    /// Of an open loop.
    pub(super) rate: Option<u32>,
    pub(super) kind: String,
    pub(super) payload_bytes: usize,
    pub(super) connections: u32,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<OfCluster>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<OfStore>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) ratios: Option<Ratios>,
}

/// What the cluster did.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OfCluster {
    pub(super) accepted_per_s: f64,
    pub(super) took_s: f64,
    pub(super) tasks: Totals,
    /// From when a task was due to the answer of its submit.
    #[serde(rename = "ack_ms")]
    pub(super) ack: Latency,
    /// If somebody watched.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<EndsSeen>,
}

/// The ends of the tasks.
#[derive(Debug, Clone, Serialize)]
pub(super) struct EndsSeen {
    pub(super) completed_per_s: f64,
    /// From when a task was due to the push of its end.
    #[serde(rename = "end_ms")]
    pub(super) end: Latency,
    /// From the end itself, by the leader's clock, to its push.
    #[serde(rename = "push_ms")]
    pub(super) push: Latency,
    /// The same, with one task at a time in the whole cluster; with the limit only.
    #[serde(rename = "unloaded_end_ms", skip_serializing_if = "Option::is_none")]
    pub(super) unloaded_end: Option<Latency>,
}

/// What the store did.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OfStore {
    pub(super) limit_per_s: f64,
    /// The smallest commit, one at a time.
    #[serde(rename = "create_ms")]
    pub(super) create: Latency,
}

/// How near the cluster came to the store.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ratios {
    pub(super) ratio: f64,
    pub(super) latency_ratio_p50: f64,
    pub(super) latency_ratio_p99: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) herdsman: &'static str,
    /// The value of the label `bench` of every task.
    pub(super) run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<ClusterSeen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) work: Option<Work>,
    /// Whether the store's tasks shared nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit_packing: Option<bool>,
    /// Medians over the rounds.
    #[serde(flatten)]
    pub(super) medians: BTreeMap<&'static str, f64>,
    pub(super) rounds: Vec<Round>,
}

impl OfStore {
    /// Of the same round.
    pub(super) fn ratios(&self, cluster: &OfCluster) -> Option<Ratios> {
        let ends = cluster.ends.as_ref()?;
        let unloaded = ends.unloaded_end?;
        Some(Ratios {
            ratio: ends.completed_per_s / self.limit_per_s,
            latency_ratio_p50: unloaded.p50 / self.create.p50,
            latency_ratio_p99: unloaded.p99 / self.create.p99,
        })
    }
}

/// Of every number that rounds have in common.
pub(super) fn medians(rounds: &[Round]) -> BTreeMap<&'static str, f64> {
    let cluster = |value: fn(&OfCluster) -> f64| median(rounds.iter().filter_map(|r| r.cluster.as_ref()).map(value));
    let ends = |value: fn(&EndsSeen) -> f64| {
        median(rounds.iter().filter_map(|r| r.cluster.as_ref()?.ends.as_ref()).map(value))
    };
    let unloaded = |value: fn(&Latency) -> f64| {
        median(rounds.iter().filter_map(|r| r.cluster.as_ref()?.ends.as_ref()?.unloaded_end.as_ref()).map(value))
    };
    let limit = |value: fn(&OfStore) -> f64| median(rounds.iter().filter_map(|r| r.limit.as_ref()).map(value));
    let ratio = |value: fn(&Ratios) -> f64| median(rounds.iter().filter_map(|r| r.ratios.as_ref()).map(value));
    let all = [
        ("completed_per_s", ends(|e| e.completed_per_s)),
        ("accepted_per_s", cluster(|c| c.accepted_per_s)),
        ("ack_p50_ms", cluster(|c| c.ack.p50)),
        ("ack_p99_ms", cluster(|c| c.ack.p99)),
        ("end_p50_ms", ends(|e| e.end.p50)),
        ("end_p99_ms", ends(|e| e.end.p99)),
        ("push_p50_ms", ends(|e| e.push.p50)),
        ("push_p99_ms", ends(|e| e.push.p99)),
        ("unloaded_end_p50_ms", unloaded(|l| l.p50)),
        ("unloaded_end_p99_ms", unloaded(|l| l.p99)),
        ("limit_per_s", limit(|l| l.limit_per_s)),
        ("create_p50_ms", limit(|l| l.create.p50)),
        ("create_p99_ms", limit(|l| l.create.p99)),
        ("ratio", ratio(|r| r.ratio)),
        ("latency_ratio_p50", ratio(|r| r.latency_ratio_p50)),
        ("latency_ratio_p99", ratio(|r| r.latency_ratio_p99)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// None of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 0 { f64::midpoint(values[values.len() / 2 - 1], upper) } else { upper })
}

impl Report {
    pub(super) fn show(&self, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.line(serde_json::to_string(self).expect("numbers and texts have a JSON form"));
        }
        let of = |name: &str, unit: &str| self.medians.get(name).map(|v| format!("{v:.0}{unit}")).unwrap_or_default();
        let ratio = |name: &str| self.medians.get(name).map(|v| format!("{v:.2}")).unwrap_or_default();
        output.fields(&[
            ("cluster", self.cluster.as_ref().map(ClusterSeen::describe).unwrap_or_default()),
            ("work", self.work.as_ref().map(Work::describe).unwrap_or_default()),
            ("completed", of("completed_per_s", " tasks/s")),
            ("accepted", of("accepted_per_s", " tasks/s")),
            ("limit of the store", of("limit_per_s", " task lives/s")),
            ("completed / limit", ratio("ratio")),
            ("unloaded end / create, p50", ratio("latency_ratio_p50")),
            ("unloaded end / create, p99", ratio("latency_ratio_p99")),
            ("rounds", self.rounds_told()),
        ])?;
        output.line("")?;
        output.table(&["", "P50 ms", "P90", "P99", "P99.9", "MAX"], self.latencies())
    }

    /// Each round's main number, so that their spread is seen.
    fn rounds_told(&self) -> String {
        let told = self.rounds.iter().map(|round| match (&round.cluster, &round.limit) {
            (Some(cluster), Some(limit)) => format!("{:.0} of {:.0}", cluster.main_rate(), limit.limit_per_s),
            (Some(cluster), None) => format!("{:.0}", cluster.main_rate()),
            (None, Some(limit)) => format!("{:.0}", limit.limit_per_s),
            (None, None) => String::new(),
        });
        if self.rounds.len() > 1 { told.collect::<Vec<_>>().join(", ") } else { String::new() }
    }

    /// Of the round with the median p50 of each.
    fn latencies(&self) -> Vec<Vec<String>> {
        let row = |name: &str, of: fn(&Round) -> Option<Latency>| {
            let mut all: Vec<_> = self.rounds.iter().filter_map(of).collect();
            all.sort_unstable_by(|a, b| a.p50.total_cmp(&b.p50));
            all.get(all.len() / 2).map(|latency| latency.row(name))
        };
        let rows = [
            row("due to answer", |round| Some(round.cluster.as_ref()?.ack)),
            row("due to end pushed", |round| Some(round.cluster.as_ref()?.ends.as_ref()?.end)),
            row("end to its push", |round| Some(round.cluster.as_ref()?.ends.as_ref()?.push)),
            row("due to end, unloaded", |round| round.cluster.as_ref()?.ends.as_ref()?.unloaded_end),
            row("smallest commit", |round| Some(round.limit.as_ref()?.create)),
        ];
        rows.into_iter().flatten().collect()
    }
}

impl OfCluster {
    /// Tasks a second that went as far as was measured.
    fn main_rate(&self) -> f64 {
        self.ends.as_ref().map_or(self.accepted_per_s, |ends| ends.completed_per_s)
    }
}

impl ClusterSeen {
    fn describe(&self) -> String {
        let Self { server, leader, version, workers, slots } = self;
        format!("{server} (leader {leader}, version {version}; for this kind: workers {workers}, slots {slots})")
    }
}

impl Work {
    fn describe(&self) -> String {
        let calls = if self.batch > 1 { format!("calls of {} tasks", self.batch) } else { "a task a call".to_owned() };
        let pace = match (self.rate, self.outstanding) {
            (Some(rate), _) => format!("{rate} tasks/s by the clock"),
            (None, outstanding) => format!("{} at once", outstanding.unwrap_or_default()),
        };
        format!("kind {}, {} bytes of payload; {calls}, {pace}", self.kind, self.payload_bytes)
    }
}

#[cfg(test)]
mod tests;
