//! How the services reach each other: the doors of the masters, and the three kinds of links that lead to them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use tokio::time::{sleep, timeout};

use super::{
    gate::Gate,
    network::{Broken, Host, Network, Receiver, Sender, Told, latency},
};
use crate::{
    client::simulated as client,
    domain::{Order, Term},
    master::simulated::{self as master, Door},
    runtime::dial::CONNECT_TIMEOUT,
    wire::{
        ClientToLeader, LeaderToClient, LeaderToStandby, LeaderToWorker, LinkRefusal, StandbyToLeader, WorkerToLeader,
    },
    worker::link as worker,
};

/// Of a machine where nobody listens at the port.
const REFUSAL: Duration = Duration::from_millis(1);

/// Who listens, by host: the door and the process behind it.
#[derive(Clone)]
pub struct Doors {
    pub network: Network,
    open: Arc<Mutex<BTreeMap<Host, (Door, Gate)>>>,
}

impl Doors {
    pub fn new(network: Network) -> Self {
        Self { network, open: Arc::default() }
    }

    pub fn open(&self, host: Host, door: Door, gate: Gate) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(host, (door, gate));
    }

    /// The term in which the master at this host leads, as far as it knows.
    pub fn term(&self, host: Host) -> Option<Term> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(host)?.0.term()
    }

    /// A connection to whoever listens at the address. None: nobody, or nothing came back in time.
    async fn connect(&self, from: Host, address: &str) -> Option<(Host, Door, Gate)> {
        let there = async {
            sleep(latency(self.network.sim())).await;
            let (host, door, gate) = self.find(address)?;
            self.network.passes(from, host).await;
            self.network.passes(host, from).await;
            if gate.is_gone() {
                sleep(REFUSAL).await;
                return None;
            }
            Some((host, door, gate))
        };
        timeout(CONNECT_TIMEOUT, there).await.ok().flatten()
    }

    fn find(&self, address: &str) -> Option<(Host, Door, Gate)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (host, (door, gate)) = open.iter().find(|(host, _)| address.split(':').next() == Some(**host))?;
        Some((*host, door.clone(), gate.clone()))
    }

    /// Connects, and runs the master's end of the link in its process.
    async fn link<Up: Told, Down: Told>(
        &self,
        from: Host,
        address: &str,
        serve: impl FnOnce(Door, Receiver<Up>, Sender<Answer<Down>>) -> BoxFuture<'static, ()>,
    ) -> Option<(Sender<Up>, Receiver<Answer<Down>>)> {
        let (host, door, gate) = self.connect(from, address).await?;
        let (up, incoming) = self.network.pipe(from, host);
        let (outgoing, down) = self.network.pipe(host, from);
        tokio::spawn(gate.run(serve(door, incoming, outgoing)));
        Some((up, down))
    }
}

/// What comes from a leader: a message, or why it wants no link.
pub type Answer<M> = Result<M, LinkRefusal>;

/// Runs one end of a link, and tells the other one why it is refused. A broken connection is the end of what comes in.
macro_rules! serve {
    ($kind:ident) => {
        |door: Door, incoming, outgoing| {
            async move {
                let mut refuse = outgoing.clone();
                let incoming =
                    StreamExt::take_while(incoming, |heard: &Result<_, Broken>| std::future::ready(heard.is_ok()));
                let incoming = incoming.filter_map(|heard| std::future::ready(heard.ok())).map(Ok);
                if let Err(refusal) = door.$kind(Box::pin(incoming), outgoing).await {
                    // If it cannot be told, it will see the end.
                    let _ = refuse.send(Err(refusal)).await;
                }
            }
            .boxed()
        }
    };
}

/// Dials from one host.
#[derive(Clone)]
pub struct Dialler {
    pub doors: Doors,
    pub host: Host,
}

impl worker::Dial for Dialler {
    fn dial(
        &self,
        address: &str,
    ) -> BoxFuture<'static, Result<(worker::Outgoing, worker::Incoming), worker::LinkError>> {
        let (this, address) = (self.clone(), address.to_owned());
        async move {
            let link = this.doors.link(this.host, &address, serve!(worker)).await;
            let (up, down) = link.ok_or_else(|| worker::LinkError::Unreachable("no answer".into()))?;
            let broken = || worker::LinkError::Broken("reset".into());
            let outgoing = up.sink_map_err(move |Broken| broken());
            let incoming = down.map(move |heard: Result<Answer<LeaderToWorker>, Broken>| match heard {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(refusal)) => {
                    Err(worker::LinkError::Refused { reason: String::new(), message: refusal.to_string() })
                }
                Err(Broken) => Err(broken()),
            });
            Ok((Box::pin(outgoing) as worker::Outgoing, Box::pin(incoming) as worker::Incoming))
        }
        .boxed()
    }
}

#[async_trait]
impl client::Dial for Dialler {
    async fn dial(&self, address: &str) -> Result<(client::Outgoing, client::Incoming), client::LinkError> {
        let link = self.doors.link(self.host, address, serve!(client)).await;
        let (up, down) = link.ok_or_else(|| client::LinkError("no answer".into()))?;
        let outgoing = up.sink_map_err(|Broken| client::LinkError("reset".into()));
        let (sim, host) = (self.doors.network.sim().clone(), self.host);
        let incoming = down.map(move |heard: Result<Answer<LeaderToClient>, Broken>| match heard {
            Ok(Ok(message)) => {
                if let LeaderToClient::Event(event) = &message {
                    sim.oracle(|oracle| oracle.pushed(host, event));
                }
                Ok(message)
            }
            Ok(Err(refusal)) => Err(client::LinkError(refusal.to_string())),
            Err(Broken) => Err(client::LinkError("reset".into())),
        });
        Ok((Box::pin(outgoing), incoming.boxed()))
    }
}

#[async_trait]
impl master::Dial for Dialler {
    async fn dial(&self, address: &str) -> Option<(master::Outgoing, master::Incoming)> {
        let (up, down) = self.doors.link(self.host, address, serve!(standby)).await?;
        let outgoing = up.sink_map_err(|Broken| master::End::Broken);
        let incoming = down.map(|heard: Result<Answer<LeaderToStandby>, Broken>| match heard {
            Ok(Ok(message)) => Ok(message),
            // A leader that gives a reason is alive.
            Ok(Err(_)) => Err(master::End::Other),
            Err(Broken) => Err(master::End::Broken),
        });
        Some((Box::pin(outgoing), incoming.boxed()))
    }
}

impl<M: Told> Told for Answer<M> {
    fn told(&self) -> Option<String> {
        match self {
            Ok(message) => message.told(),
            Err(refusal) => Some(format!("refused: {refusal}")),
        }
    }
}

impl Told for WorkerToLeader {
    fn told(&self) -> Option<String> {
        match self {
            Self::Heartbeat => None,
            Self::Hello(hello) => {
                let running: Vec<_> = hello.running.iter().map(|running| running.attempt.to_string()).collect();
                let reports: Vec<_> = hello.reports.iter().map(|report| report.attempt().to_string()).collect();
                let incarnation = hello.offer.incarnation;
                Some(format!("hello of {incarnation} after term {}, runs {running:?}, reports {reports:?}", hello.term))
            }
            other => Some(format!("{other:?}")),
        }
    }
}

impl Told for LeaderToWorker {
    fn told(&self) -> Option<String> {
        match self {
            Self::Heartbeat => None,
            Self::Order(Order::Assign { attempt, .. }) => Some(format!("assign {attempt} fence {}", attempt.fence.0)),
            other => Some(format!("{other:?}")),
        }
    }
}

impl Told for ClientToLeader {
    fn told(&self) -> Option<String> {
        use crate::domain::Call;
        match self {
            Self::Heartbeat => None,
            Self::Call { call_id, call: Call::Submit { task_id, time_left, .. } } => {
                Some(format!("call {call_id} submit {task_id} in {time_left:?}"))
            }
            other => Some(format!("{other:?}")),
        }
    }
}

impl Told for LeaderToClient {
    fn told(&self) -> Option<String> {
        use crate::domain::Answer;
        match self {
            Self::Heartbeat => None,
            Self::Event(event) => {
                let task = &event.task;
                Some(format!("event {} {:?} #{} revision {:x}", task.id, task.state, task.attempt, task.revision.0))
            }
            Self::Reply { call_id, answer: Answer::Task(task), .. } => Some(format!(
                "reply {call_id} {} {:?} #{} revision {:x}",
                task.id, task.state, task.attempt, task.revision.0
            )),
            Self::Reply { call_id, answer: Answer::Page(page), .. } => {
                let tasks: Vec<_> = page.tasks.iter().map(|task| format!("{} {:?}", task.id, task.state)).collect();
                Some(format!("reply {call_id} {tasks:?} missing {:?}", page.missing))
            }
            other => Some(format!("{other:?}")),
        }
    }
}

impl Told for StandbyToLeader {
    fn told(&self) -> Option<String> {
        (*self != Self::Heartbeat).then(|| format!("{self:?}"))
    }
}

impl Told for LeaderToStandby {
    fn told(&self) -> Option<String> {
        (*self != Self::Heartbeat).then(|| format!("{self:?}"))
    }
}
