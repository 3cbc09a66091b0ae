//! What the workers run: handlers that take their time, fail, or take their worker along, as the payload says.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use super::{cluster::Cluster, gate::Gate, network::Host, oracle::result_of};
use crate::{
    domain::Incarnation,
    worker::handler::{Attempt, Handler, HandlerError},
};

/// How a task goes, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Succeed(Duration),
    Fail(Duration),
    /// Its worker's process dies of it.
    Kill(Duration),
}

impl Plan {
    pub fn payload(self) -> Vec<u8> {
        let (what, time) = match self {
            Self::Succeed(time) => ("succeed", time),
            Self::Fail(time) => ("fail", time),
            Self::Kill(time) => ("kill", time),
        };
        format!("{what} {}", time.as_millis()).into_bytes()
    }

    fn read(payload: &[u8]) -> Self {
        let text = String::from_utf8_lossy(payload);
        let (what, time) = text.split_once(' ').expect("the payload is one of the simulation's");
        let time = Duration::from_millis(time.parse().expect("the payload names a time"));
        match what {
            "fail" => Self::Fail(time),
            "kill" => Self::Kill(time),
            _ => Self::Succeed(time),
        }
    }
}

/// The handler in one life of a worker.
pub struct Work {
    pub cluster: Arc<Cluster>,
    pub host: Host,
    pub gate: Gate,
    pub incarnation: Incarnation,
}

#[async_trait]
impl Handler for Work {
    async fn run(&self, attempt: Attempt) -> Result<Bytes, HandlerError> {
        let Attempt { task_id, attempt: number, fence, payload, cancelled, .. } = attempt;
        let sim = &self.cluster.sim;
        sim.note(format_args!("{} runs {task_id}#{number}", self.host));
        sim.oracle(|oracle| oracle.run_started(&task_id, number, self.incarnation, fence));
        let plan = Plan::read(&payload);
        let (Plan::Succeed(time) | Plan::Fail(time) | Plan::Kill(time)) = plan;
        let running = async {
            tokio::select! {
                () = sleep(time) => {}
                () = cancelled.cancelled() => return Err(HandlerError::new("cancelled")),
            }
            match plan {
                Plan::Succeed(_) => Ok(Bytes::from(result_of(&task_id, number, self.incarnation, fence))),
                Plan::Fail(_) => Err(HandlerError::new("as planned")),
                Plan::Kill(_) => {
                    sim.note(format_args!("{} dies of {task_id}#{number}", self.host));
                    tokio::spawn(self.cluster.clone().die_and_come_back(self.host));
                    std::future::pending().await
                }
            }
        };
        let Some(result) = self.gate.run(running).await else { return Err(HandlerError::new("dead")) };
        sim.note(format_args!("{} ran {task_id}#{number}", self.host));
        let said = result.as_ref().map(|result| Arc::from(result.as_ref())).map_err(drop);
        sim.oracle(|oracle| oracle.run_ended(&task_id, number, self.incarnation, said));
        result
    }
}
