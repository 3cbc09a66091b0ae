//! `health`: for the health checks of containers and load balancers.

use std::time::Duration;

use clap::Args;
use tonic::Request;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{exit::Failure, output::Output, server::Server};

/// Longest wait for the answer: orchestrators give a check a few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status 0: SERVING. 1: anything else, nobody there included.

Examples:
  herdsman health                                             a client service, as a process
  herdsman health --service herdsman.v1.TaskService           SERVING only while it has a leader
  herdsman health --server http://127.0.0.1:7071              a master")]
pub(super) struct Health {
    #[command(flatten)]
    server: Server,
    /// Name of the gRPC service; empty: the process as a whole
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
        let mut client = HealthClient::new(self.server.connect().await?);
        let mut request = Request::new(HealthCheckRequest { service: self.service.clone() });
        request.set_timeout(TIMEOUT);
        Ok(client.check(request).await?.into_inner().status())
    }
}
