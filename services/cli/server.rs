//! Where the verbs find the cluster.

use std::time::Duration;

use clap::Args;
use tonic::{Request, transport::Channel};

use super::exit::Failure;
use crate::{
    runtime::{dial::dial, serve::MAX_LINK_MESSAGE_BYTES},
    wire::proto::v1::{cluster_service_client::ClusterServiceClient, task_service_client::TaskServiceClient},
};

/// Longest wait for one answer: a client service waits for a leader for a session timeout and a second, 5 s as a rule.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Where `dev` and a client service listen if nothing else is said.
const DEFAULT: &str = "http://127.0.0.1:7070";

/// Which client service to ask.
#[derive(Debug, Clone, Args)]
pub(super) struct Server {
    /// URL of a client service
    #[arg(long, env = "HERDSMAN_SERVER", default_value = DEFAULT, value_name = "URL", value_parser = address, hide_env_values = true)]
    server: String,
}

/// host:port out of `http://host:port`; the scheme may be left out.
pub(super) fn address(url: &str) -> Result<String, String> {
    if url.starts_with("https://") {
        return Err("https is not supported: use http://HOST:PORT on a trusted network".to_owned());
    }
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(address.to_owned())
        }
        _ => Err("must be http://HOST:PORT".to_owned()),
    }
}

impl Server {
    /// At an address that [`address`] has parsed, or at the default one.
    pub(super) fn at(parsed: Option<String>) -> Self {
        Self { server: parsed.unwrap_or_else(|| DEFAULT.trim_start_matches("http://").to_owned()) }
    }

    /// As it is written.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server)
    }

    pub(super) async fn connect(&self) -> Result<Channel, Failure> {
        dial(&self.server).await.map_err(Failure::unable)
    }

    pub(super) async fn tasks(&self) -> Result<TaskServiceClient<Channel>, Failure> {
        Ok(task_client(self.connect().await?))
    }

    pub(super) async fn cluster(&self) -> Result<ClusterServiceClient<Channel>, Failure> {
        Ok(ClusterServiceClient::new(self.connect().await?).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES))
    }
}

pub(super) fn task_client(channel: Channel) -> TaskServiceClient<Channel> {
    TaskServiceClient::new(channel).max_decoding_message_size(MAX_LINK_MESSAGE_BYTES)
}

/// A request that waits for its answer as long as [`CALL_TIMEOUT`].
pub(super) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}
