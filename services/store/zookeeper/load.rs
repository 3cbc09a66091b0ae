//! Everything that a new leader has to know, read at once: lists first, then all nodes that are ours, many to a request.
//! What they say is not judged here.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use zookeeper_client::{Client, Error};

use super::{
    assemble::{Assembly, Found, Readable},
    known::Known,
    paths::{self, Place},
    read::{Node, read},
    session::{lost, within},
};
use crate::{
    domain::{Loaded, TaskId},
    store::StoreError,
};

/// Listings on their way at once: of a million tasks, each carries about 200 KiB of names.
const LISTINGS: usize = 8;

/// Reads all tasks, assignments, queues and drains.
///
/// # Errors
/// The reading failed; what is wrong with a node is none.
pub async fn load(client: &Client, limit: Duration) -> Result<(Loaded, Known), StoreError> {
    let mut assembly = Assembly::default();
    load_tasks(client, limit, &mut assembly).await?;
    load_assignments(client, limit, &mut assembly).await?;
    for directory in [paths::QUEUES, paths::DRAINS] {
        load_under(client, limit, directory, &mut assembly).await?;
    }
    Ok(assembly.finish())
}

async fn load_tasks(client: &Client, limit: Duration, assembly: &mut Assembly) -> Result<(), StoreError> {
    let mut ids = Vec::new();
    let mut packs = Vec::new();
    for (path, place) in places(client, limit, paths::TASKS, assembly).await? {
        match place {
            Place::Task(id) => ids.push(id),
            pack => packs.push((path, pack)),
        }
    }
    read_places(client, limit, packs, assembly).await?;
    let both = |id: &TaskId| [paths::task(id), paths::status(id)];
    read(client, limit, ids, both, |id, [task, status]| {
        add(assembly, Place::Task(id.clone()), task);
        add(assembly, Place::Status(id), status);
    })
    .await
    .map_err(lost("reading the tasks"))
}

async fn load_assignments(client: &Client, limit: Duration, assembly: &mut Assembly) -> Result<(), StoreError> {
    let places = places(client, limit, paths::ASSIGN, assembly).await?;
    read_places(client, limit, places, assembly).await
}

/// What lies directly under this node.
async fn load_under(
    client: &Client,
    limit: Duration,
    directory: &'static str,
    assembly: &mut Assembly,
) -> Result<(), StoreError> {
    let mut places = Vec::new();
    let names = within(limit, client.list_children(directory)).await.map_err(lost("listing queues and drains"))?;
    for name in names {
        let path = paths::child(directory, &name);
        match paths::place(&path) {
            Ok(place) => places.push((path, place)),
            Err(problem) => assembly.ignore(&path, problem),
        }
    }
    read_places(client, limit, places, assembly).await
}

async fn read_places(
    client: &Client,
    limit: Duration,
    places: Vec<(String, Place)>,
    assembly: &mut Assembly,
) -> Result<(), StoreError> {
    let one = |(path, _): &(String, Place)| [path.clone()];
    read(client, limit, places, one, |(_, place), [node]| add(assembly, place, node))
        .await
        .map_err(lost("reading packed nodes, assignments, queues and drains"))
}

/// What lies two levels under this node, by path; the level between is known to the assembly.
async fn places(
    client: &Client,
    limit: Duration,
    top: &str,
    assembly: &mut Assembly,
) -> Result<Vec<(String, Place)>, StoreError> {
    let mut directories = Vec::new();
    for name in within(limit, client.list_children(top)).await.map_err(lost("listing the tree"))? {
        let path = paths::child(top, &name);
        match paths::place(&path) {
            Ok(place) => {
                assembly.add(place, Ok(Found::default()));
                directories.push(name);
            }
            Err(problem) => assembly.ignore(&path, problem),
        }
    }
    let mut places = Vec::new();
    for (directory, names) in list(client, limit, top, directories).await? {
        let directory = paths::child(top, &directory);
        for name in names {
            let path = paths::child(&directory, &name);
            match paths::place(&path) {
                Ok(place) => places.push((path, place)),
                Err(problem) => assembly.ignore(&path, problem),
            }
        }
    }
    Ok(places)
}

/// A node that is gone was removed since it was listed, by somebody who is not a leader.
fn add(assembly: &mut Assembly, place: Place, node: Node) {
    let readable: Readable = match node {
        Ok((data, stat)) => Ok(Found {
            data,
            children: usize::try_from(stat.num_children).unwrap_or_default(),
            ephemeral: stat.ephemeral_owner != 0,
        }),
        Err(Error::NoNode) => return,
        Err(error) => Err(error.to_string()),
    };
    assembly.add(place, readable);
}

/// The children of several nodes under one parent; a node that is gone has none.
pub async fn list(
    client: &Client,
    limit: Duration,
    parent: &str,
    names: Vec<String>,
) -> Result<Vec<(String, Vec<String>)>, StoreError> {
    let listings = names.into_iter().map(|name| async move {
        match within(limit, client.list_children(&paths::child(parent, &name))).await {
            Ok(children) => Ok((name, children)),
            Err(Error::NoNode) => Ok((name, Vec::new())),
            Err(error) => Err(lost("listing the tree")(error)),
        }
    });
    stream::iter(listings).buffer_unordered(LISTINGS).try_collect().await
}
