//! What a client service counts.

use std::time::Duration;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{hub::Hub, leader_link::LeaderLink};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcAndCode {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rpc {
    rpc: &'static str,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    requests: Family<RpcAndCode, Counter>,
    latency: Family<Rpc, Histogram, fn() -> Histogram>,
    skipped: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry, link: LeaderLink, hub: Hub) -> Self {
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(latencies),
            skipped: Counter::default(),
        };
        registry.register(
            "herdsman_client_requests",
            "Calls and streams that ended, by RPC and gRPC code",
            metrics.requests.clone(),
        );
        registry.register(
            "herdsman_client_request_duration_seconds",
            "How long a call took; of a stream, until it ended",
            metrics.latency.clone(),
        );
        registry.register(
            "herdsman_client_watch_changes_skipped",
            "Changes that were not sent because their reader was slow",
            metrics.skipped.clone(),
        );
        registry.register_collector(Box::new(Now { link, hub }));
        metrics
    }

    pub(super) fn ended(&self, rpc: &'static str, code: tonic::Code, took: Duration) {
        self.requests.get_or_create(&RpcAndCode { rpc, code: name(code) }).inc();
        self.latency.get_or_create(&Rpc { rpc }).observe(took.as_secs_f64());
    }

    pub(super) fn skipped(&self, changes: u32) {
        self.skipped.inc_by(changes.into());
    }
}

/// From half a millisecond, below which no commit is, to a minute, above which there are only streams.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 18))
}

/// What is read at the moment of a scrape.
#[derive(Debug)]
struct Now {
    link: LeaderLink,
    hub: Hub,
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = *self.link.state().borrow();
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let gauges = [
            ("herdsman_client_link_up", "1 while this client service has a link to the leader", i64::from(state.up)),
            (
                "herdsman_client_link_term",
                "The highest term that a leader has welcomed this client service to",
                i64::try_from(state.term.0).unwrap_or(i64::MAX),
            ),
            (
                "herdsman_client_link_outstanding_calls",
                "Calls that the leader has not answered",
                count(self.link.outstanding()),
            ),
            ("herdsman_client_watch_streams", "Watch streams that are open", count(self.hub.open_streams())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// As gRPC spells its codes.
fn name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "OK",
        tonic::Code::Cancelled => "CANCELLED",
        tonic::Code::InvalidArgument => "INVALID_ARGUMENT",
        tonic::Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        tonic::Code::NotFound => "NOT_FOUND",
        tonic::Code::AlreadyExists => "ALREADY_EXISTS",
        tonic::Code::PermissionDenied => "PERMISSION_DENIED",
        tonic::Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        tonic::Code::FailedPrecondition => "FAILED_PRECONDITION",
        tonic::Code::Aborted => "ABORTED",
        tonic::Code::OutOfRange => "OUT_OF_RANGE",
        tonic::Code::Unimplemented => "UNIMPLEMENTED",
        tonic::Code::Internal => "INTERNAL",
        tonic::Code::Unavailable => "UNAVAILABLE",
        tonic::Code::DataLoss => "DATA_LOSS",
        tonic::Code::Unauthenticated => "UNAUTHENTICATED",
        tonic::Code::Unknown => "UNKNOWN",
    }
}
