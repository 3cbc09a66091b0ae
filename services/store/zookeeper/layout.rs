//! The tree's fixed nodes: they are there, and in a format that this program knows, before anybody works on it.

use std::{collections::BTreeSet, time::Duration};

use tracing::info;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use super::{
    multi::{Expect, Multi, MultiError, Operations, Version},
    paths,
    session::{lost, within},
};
use crate::store::StoreError;

/// The format number of the tree, the data of its root, as it is made.
const FORMAT: u32 = 1;
/// That of a tree that may have packed nodes. A program that does not know them would take the tasks in them for none,
/// and accept their ids again; so the first leader that may pack raises the number as it takes over, and nobody lowers it.
pub const PACKED: u32 = 2;
/// How often two that create the tree at the same time may get into each other's way.
const ATTEMPTS: usize = 5;

/// Creates what is missing of the tree.
///
/// # Errors
/// [`StoreError::Format`], or any trouble.
pub async fn ensure(client: &Client, limit: Duration) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS {
        let expect = match within(limit, client.get_data(paths::ROOT)).await {
            Ok((data, stat)) if data.is_empty() => Version::new(stat.version).map_or(Expect::Present, Expect::Version),
            Ok((data, _)) => {
                check_format(&data)?;
                return restore(client, limit).await;
            }
            Err(Error::NoNode) => {
                create_root(client, limit).await?;
                continue;
            }
            Err(error) => return Err(lost("reading the tree's format")(error)),
        };
        match write(client, limit, Some(expect), &BTreeSet::new()).await {
            Ok(()) => {
                info!(chroot = client.path(), format = FORMAT, "created the tree");
                return Ok(());
            }
            Err(MultiError::Refused { error: Error::NodeExists | Error::BadVersion, .. }) => {}
            Err(MultiError::Refused { error, .. } | MultiError::Unknown(error)) => {
                return Err(lost("creating the tree")(error));
            }
        }
    }
    Err(StoreError::Lost(format!("the tree at {} changed while it was created", client.path())))
}

/// The format, which is one that this program knows, and the version of the root that says so; whoever takes over checks
/// that it still is, for a candidate may have waited for days.
pub async fn known_format(client: &Client, limit: Duration) -> Result<(u32, Expect), StoreError> {
    let (data, stat) = within(limit, client.get_data(paths::ROOT)).await.map_err(lost("reading the tree's format"))?;
    Ok((check_format(&data)?, Version::new(stat.version).map_or(Expect::Present, Expect::Version)))
}

fn check_format(data: &[u8]) -> Result<u32, StoreError> {
    let found = String::from_utf8_lossy(data);
    let known = [FORMAT, PACKED].into_iter().find(|format| found.trim() == format.to_string());
    known.ok_or_else(|| StoreError::Format { found: found.chars().take(32).collect(), known: PACKED })
}

/// The chroot and what is above it; empty, which says that the tree is still to be made.
async fn create_root(client: &Client, limit: Duration) -> Result<(), StoreError> {
    let chroot = client.path().to_owned();
    let Ok(root) = client.clone().chroot("/") else {
        return Err(StoreError::Broken("the root of ZooKeeper is no path to this library".into()));
    };
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    within(limit, root.mkdir(&chroot, &options)).await.map_err(lost("creating the chroot"))
}

/// Creates again what somebody removed from a finished tree.
async fn restore(client: &Client, limit: Duration) -> Result<(), StoreError> {
    let (top, tasks) = (client.list_children(paths::ROOT), client.list_children(paths::TASKS));
    let mut present: BTreeSet<_> =
        within(limit, top).await.map_err(lost("listing the tree"))?.iter().map(|name| format!("/{name}")).collect();
    match within(limit, tasks).await {
        Ok(names) => present.extend(names.iter().map(|name| paths::child(paths::TASKS, name))),
        Err(Error::NoNode) => {}
        Err(error) => return Err(lost("listing the tasks")(error)),
    }
    match write(client, limit, None, &present).await {
        Ok(()) | Err(MultiError::Refused { error: Error::NodeExists, .. }) => Ok(()),
        Err(MultiError::Refused { error, .. } | MultiError::Unknown(error)) => Err(lost("restoring the tree")(error)),
    }
}

/// Writes everything that is not `present`, in one request.
async fn write(
    client: &Client,
    limit: Duration,
    root: Option<Expect>,
    present: &BTreeSet<String>,
) -> Result<(), MultiError> {
    let mut multi = Multi::new(client);
    let mut empty = true;
    let added = (|| {
        if let Some(expect) = root {
            empty = false;
            multi.set(paths::ROOT.to_owned(), FORMAT.to_string().as_bytes(), expect)?;
        }
        let fixed = [paths::ELECTION, paths::WORKERS, paths::TASKS, paths::ASSIGN, paths::QUEUES, paths::DRAINS]
            .map(str::to_owned);
        let buckets = paths::buckets().map(|name| paths::child(paths::TASKS, &name));
        for path in fixed.into_iter().chain(buckets).filter(|path| !present.contains(path)) {
            empty = false;
            let election = path == paths::ELECTION;
            multi.create(path, &[], CreateMode::Persistent)?;
            if election {
                multi.create(paths::NUMBER_ZERO.to_owned(), &[], CreateMode::Persistent)?;
                multi.delete(paths::NUMBER_ZERO.to_owned(), Expect::Present)?;
            }
        }
        Ok(())
    })();
    added.map_err(MultiError::Unknown)?;
    if empty {
        return Ok(());
    }
    let answer = multi.commit();
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(MultiError::Unknown(Error::Timeout)))
}
