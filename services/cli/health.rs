//! `health`: for the health checks of containers and load balancers.

use std::time::Duration;

use clap::Args;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{exit::Failure, output::Output, server::address};
use crate::runtime::dial::dial;

/// Longest wait for the answer: orchestrators give a check a few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "\
A client service is SERVING only while it has a leader.
Exit status 0: SERVING. 1: anything else, nobody there included. 2: a wrong option.

Examples:
  herdsman health                                     a client service
  herdsman health --server http://127.0.0.1:7071      a master
  herdsman health --service herdsman.v1.TaskService   one of several services")]
pub(super) struct Health {
    /// URL of a role, whichever it is
    #[arg(long, env = "HERDSMAN_SERVER", default_value = "http://127.0.0.1:7070", value_name = "URL", value_parser = address, hide_env_values = true)]
    server: String,
    /// Name of the gRPC service; empty: all of them together
    #[arg(long, env = "HERDSMAN_HEALTH_SERVICE", default_value = "", value_name = "NAME", hide_env_values = true)]
    service: String,
}

impl Health {
    pub(super) async fn run(self, output: &Output) -> Result<(), Failure> {
        // Status 2 means something else to Docker: for a health check, nobody there is an answer.
        let status = self.check().await.map_err(|failure| match failure {
            Failure::Unable(error) => Failure::Refused(error),
            other => other,
        })?;
        let name = status.as_str_name();
        if output.is_json() {
            output.line(serde_json::json!({ "status": name }))?;
        } else {
            output.line(name)?;
        }
        if status == ServingStatus::Serving { Ok(()) } else { Err(Failure::Untrue) }
    }

    async fn check(&self) -> Result<ServingStatus, Failure> {
        let mut client = HealthClient::new(dial(&self.server).await.map_err(Failure::unable)?);
        let mut request = Request::new(HealthCheckRequest { service: self.service.clone() });
        request.set_timeout(TIMEOUT);
        Ok(client.check(request).await?.into_inner().status())
    }
}
