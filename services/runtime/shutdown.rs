//! From a signal to a graceful stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a program that ended by Ctrl-C: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// A token that the first SIGTERM or SIGINT cancels. The second one ends the process at once, with status 130.
///
/// To be called inside a Tokio runtime, once a process.
///
/// # Panics
/// Outside a runtime.
pub fn on_signal() -> CancellationToken {
    let catch = |kind| signal(kind).expect("SIGTERM and SIGINT can always be caught inside a runtime");
    let mut terminate = catch(SignalKind::terminate());
    let mut interrupt = catch(SignalKind::interrupt());
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping; once more to stop at once");
        stop.cancel();
        either(&mut terminate, &mut interrupt).await;
        #[allow(clippy::disallowed_methods, reason = "at once is what the second signal asks for")]
        std::process::exit(INTERRUPTED);
    });
    token
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
