//! Logs for people and for machines, traces by OTLP, and the trace context that travels with a task.
//!
//! Metrics are not here: each role has a registry of its own, which [`super::serve`] shows.

use std::{collections::HashMap, io::IsTerminal, sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    propagation::TextMapPropagator,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::SubscriberExt, registry::LookupSpan};

/// Where traces go (host:port with a scheme); not set: nowhere.
const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Longest wait, at the end of the process, for traces that are not sent yet: a collector that is away must not hold a
/// stop up.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// The crates under gRPC trace themselves, the sending of traces included: without this, sending makes more to send.
const UNTRACED: [&str; 8] =
    ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp"];

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{variable}={value:?} is not a log filter: {reason}")]
    Filter { variable: &'static str, value: String, reason: String },
    #[error("cannot export traces to {OTLP_ENDPOINT}: {0}")]
    Exporter(String),
    #[error("a log subscriber is already set in this process")]
    AlreadySet,
}

/// Keeps telemetry going; dropping it sends the traces that wait, for half a second at most.
#[must_use = "dropping it ends the export of traces"]
pub struct TelemetryGuard(Option<SdkTracerProvider>);

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            // What could not be sent in time is lost; there is nobody left to tell.
            let _ = provider.shutdown_with_timeout(FLUSH_LIMIT);
        }
    }
}

/// Starts logs on stderr (for people on a terminal, JSON lines otherwise), filtered by `HERDSMAN_LOG` or `RUST_LOG` and
/// `info` if neither is set; traces of service `herdsman-<role>`, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set; and logs
/// panics. Once a process, inside a Tokio runtime.
///
/// # Errors
/// A filter or an endpoint that does not parse.
pub fn init(role: &'static str) -> Result<TelemetryGuard, TelemetryError> {
    init_with(role, "info")
}

/// As [`init`], with another filter for when the environment names none.
///
/// # Errors
/// As [`init`].
pub fn init_with(role: &'static str, default_filter: &'static str) -> Result<TelemetryGuard, TelemetryError> {
    let filter = filter(default_filter)?;
    let provider = exporter(role)?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("herdsman")).with_filter(
            UNTRACED.iter().fold(Targets::new().with_default(LevelFilter::INFO), |targets, &name| {
                targets.with_target(name, LevelFilter::OFF)
            }),
        )
    });
    let subscriber = tracing_subscriber::registry().with(logs().with_filter(filter)).with(traces);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(TelemetryGuard(provider))
}

fn filter(default_filter: &'static str) -> Result<EnvFilter, TelemetryError> {
    for variable in ["HERDSMAN_LOG", "RUST_LOG"] {
        if let Ok(value) = std::env::var(variable).map(|value| value.trim().to_owned())
            && !value.is_empty()
        {
            return EnvFilter::try_new(&value).map_err(|error| TelemetryError::Filter {
                variable,
                value,
                reason: error.to_string(),
            });
        }
    }
    Ok(EnvFilter::new(default_filter))
}

fn logs<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        layer.compact().boxed()
    } else {
        layer.json().flatten_event(true).with_span_list(false).boxed()
    }
}

fn exporter(role: &'static str) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if std::env::var(OTLP_ENDPOINT).unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    // The builder reads OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; who set the latter means it.
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var("OTEL_SERVICE_NAME").unwrap_or_default().is_empty() {
        resource = resource.with_service_name(format!("herdsman-{role}"));
    }
    Ok(Some(SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter).build()))
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    let backtrace = std::backtrace::Backtrace::capture().to_string();
    tracing::error!(location, thread, backtrace, "panicked: {message}");
}

/// The W3C trace context of a span, to be handed to another process. None: it is not traced.
///
/// A span that has told its context can no longer be given a parent: [`set_parent`] comes first.
pub fn traceparent(span: &Span) -> Option<Arc<str>> {
    let context = span.context();
    let active = context.span();
    let active = active.span_context();
    active
        .is_valid()
        .then(|| format!("00-{}-{}-{:02x}", active.trace_id(), active.span_id(), active.trace_flags().to_u8()).into())
}

/// Makes a span the child of one in another process, by its W3C trace context. Does nothing if the text is not one, or
/// nothing is traced.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // It fails only for a span that is not traced.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}
