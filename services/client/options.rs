//! What a client service is started with.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;

use crate::{runtime::near_links::Door, store::Store};

/// What a client service is started with.
pub struct Options {
    /// Where the leader is found.
    pub store: Arc<dyn Store>,
    /// The public port.
    pub listener: TcpListener,
    /// How long a watch stream may live before its client has to come again, cut or stretched by a tenth at random, so
    /// that clients spread over the client services.
    pub max_watch_age: Duration,
    /// Watch streams that may be open at once.
    pub max_watches: usize,
    /// The master of this process, if there is one.
    pub beside: Option<Door>,
}

impl Options {
    pub const DEFAULT_MAX_WATCH_AGE: Duration = Duration::from_hours(1);
    /// At a few KiB each with its HTTP/2 stream, some hundred MiB.
    pub const DEFAULT_MAX_WATCHES: usize = 50_000;

    pub fn new(store: Arc<dyn Store>, listener: TcpListener) -> Self {
        Self {
            store,
            listener,
            max_watch_age: Self::DEFAULT_MAX_WATCH_AGE,
            max_watches: Self::DEFAULT_MAX_WATCHES,
            beside: None,
        }
    }
}
