//! Which workers there are: one ephemeral node for each, under its session. A newer incarnation takes the node over; a
//! node is never shared and never written again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zookeeper_client::{Acls, Client, CreateMode, Error, OneshotWatcher};

use super::{
    election::{json, split_address},
    layout,
    multi::{Expect, Multi, MultiError, Operations, Version},
    paths,
    read::read,
    session::{lost, within},
    vigil,
};
use crate::{
    domain::{Incarnation, Kind, Member, QueueName, WorkerId, WorkerOffer},
    store::{Members, Registration, StoreError},
};

/// How often registering meets another incarnation that came or went in between.
const ATTEMPTS: usize = 5;

/// The data of a worker's node, readable for people.
#[derive(Serialize)]
struct MemberNode<'a> {
    host: String,
    port: u16,
    incarnation: String,
    slots: u32,
    kinds: BTreeSet<&'a str>,
    queues: BTreeSet<&'a str>,
    labels: &'a BTreeMap<String, String>,
    version: &'a str,
}

/// What the leader needs of it; the rest the worker says itself, on its link.
#[derive(serde::Deserialize)]
struct MemberKey {
    incarnation: String,
}

/// Makes the worker a member, on a session that is nobody else's.
///
/// # Errors
/// The membership did not come to be, as far as is known; the session is closed.
pub async fn register(client: Client, offer: &WorkerOffer) -> Result<Box<dyn Registration>, StoreError> {
    let (host, port) = split_address(&offer.address)?;
    let data = json(&MemberNode {
        host,
        port,
        incarnation: offer.incarnation.to_string(),
        slots: offer.slots,
        kinds: offer.kinds.iter().map(Kind::as_str).collect(),
        queues: offer.queues.iter().map(QueueName::as_str).collect(),
        labels: &offer.labels,
        version: &offer.version,
    });
    let path = paths::worker(&offer.worker_id);
    occupy(&client, &path, &data).await?;
    info!(%path, incarnation = %offer.incarnation, session = %client.session_id(), "registered");
    let lost = CancellationToken::new();
    tokio::spawn(vigil::keep_vigil(client.clone(), path.clone(), lost.clone()));
    Ok(Box::new(ZooKeeperRegistration { client, path, lost }))
}

/// Creates the node, in place of one of another session.
async fn occupy(client: &Client, path: &str, data: &[u8]) -> Result<(), StoreError> {
    let limit = client.session_timeout();
    for _ in 0..ATTEMPTS {
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        match within(limit, client.create(path, data, &options)).await {
            Ok(_) => return Ok(()),
            // A worker may be there before the first master.
            Err(Error::NoNode) => layout::ensure(client, limit).await?,
            Err(Error::NodeExists) => match replace(client, path, data, limit).await {
                Ok(()) => return Ok(()),
                // It went or changed in between.
                Err(MultiError::Refused { error: Error::NoNode | Error::NodeExists | Error::BadVersion, .. }) => {}
                Err(MultiError::Refused { error, .. } | MultiError::Unknown(error)) => {
                    return Err(lost("taking over the worker's node")(error));
                }
            },
            Err(error) => return Err(lost("creating the worker's node")(error)),
        }
    }
    Err(StoreError::Lost(format!("{path} changed at every attempt to take it over")))
}

async fn replace(client: &Client, path: &str, data: &[u8], limit: Duration) -> Result<(), MultiError> {
    let stat = within(limit, client.check_stat(path)).await.map_err(MultiError::Unknown)?;
    let mut multi = Multi::new(client);
    let added = (|| {
        if let Some(stat) = stat {
            let expect = Version::new(stat.version).map_or(Expect::Present, Expect::Version);
            multi.delete(path.to_owned(), expect)?;
        }
        multi.create(path.to_owned(), data, CreateMode::Ephemeral)
    })();
    added.map_err(MultiError::Unknown)?;
    tokio::time::timeout(limit, multi.commit()).await.unwrap_or(Err(MultiError::Unknown(Error::Timeout)))
}

struct ZooKeeperRegistration {
    client: Client,
    path: String,
    lost: CancellationToken,
}

#[async_trait]
impl Registration for ZooKeeperRegistration {
    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    async fn unregister(self: Box<Self>) {
        // With its session goes exactly our node. At its path there may be a newer incarnation's already, and nothing in a
        // delete tells the two apart: both have version 0.
        let (path, limit) = (self.path.clone(), self.client.session_timeout());
        let mut states = self.client.state_watcher();
        drop(self);
        let closed = async {
            let mut state = states.state();
            while !state.is_terminated() {
                state = states.changed().await;
            }
        };
        if tokio::time::timeout(limit, closed).await.is_ok() {
            info!(path, "unregistered");
        } else {
            warn!(path, "could not say goodbye; the worker's node goes when its session expires");
        }
    }
}

impl Drop for ZooKeeperRegistration {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

/// The members, first as they are, then kept up to date until `lost`; it is cancelled when they no longer can be.
///
/// # Errors
/// They cannot be read.
pub async fn follow(client: Client, lost: CancellationToken) -> Result<watch::Receiver<Members>, StoreError> {
    let client = Arc::new(client);
    let (members, mut changed) = list(&client).await?;
    let (sender, receiver) = watch::channel(members);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = lost.cancelled() => return,
                () = sender.closed() => return,
                _ = changed.changed() => {}
            }
            // A watch that fired is gone; the next is set by the same request that lists, so that nothing is missed.
            match list(&client).await {
                Ok((members, next)) => {
                    changed = next;
                    sender.send_if_modified(|current| std::mem::replace(current, members.clone()) != members);
                }
                Err(error) => {
                    warn!(%error, "cannot follow the workers");
                    return lost.cancel();
                }
            }
        }
    });
    Ok(receiver)
}

async fn list(client: &Client) -> Result<(Members, OneshotWatcher), StoreError> {
    let limit = client.session_timeout();
    let (names, changed) = within(limit, client.list_and_watch_children(paths::WORKERS))
        .await
        .map_err(lost("listing the registered workers"))?;
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        match name.parse::<WorkerId>() {
            Ok(id) => ids.push(id),
            Err(error) => {
                warn!(path = paths::child(paths::WORKERS, &name), %error, "ignored a node that is none of ours");
            }
        }
    }
    let mut members = Members::new();
    read(
        client,
        limit,
        ids,
        |id| [paths::worker(id)],
        |id, [node]| {
            let incarnation = match node {
                Ok((data, _)) => incarnation(&data),
                Err(Error::NoNode) => return,
                Err(error) => Err(error.to_string()),
            };
            match incarnation {
                Ok(incarnation) => {
                    members.insert(id.clone(), Member { worker_id: id, incarnation });
                }
                Err(problem) => warn!(path = paths::worker(&id), %problem, "set aside a worker that cannot be read"),
            }
        },
    )
    .await
    .map_err(lost("reading the registered workers"))?;
    Ok((members, changed))
}

fn incarnation(data: &[u8]) -> Result<Incarnation, String> {
    let key: MemberKey = serde_json::from_slice(data).map_err(|error| error.to_string())?;
    let uuid: uuid::Uuid = key.incarnation.parse().map_err(|error| format!("incarnation: {error}"))?;
    Ok(Incarnation(uuid.into_bytes()))
}
