//! Who leads. A candidacy is a session: it stands in line with one ephemeral node, and whatever goes wrong ends the
//! session and with it the node. (A candidate that tried again on the same session could stand behind its own ghost: the
//! node whose creation was never answered.)

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use zookeeper_client::{Acls, Client, CreateMode, Error, LockPrefix, OwnedLockClient};

use super::{
    layout,
    leadership::ZooKeeperLeadership,
    multi::{Expect, Multi, MultiError, Operations, Version},
    paths,
    session::{Sessions, lost, within},
    vigil,
};
use crate::{
    domain::Term,
    store::{Candidate, Leader, Leadership, StoreError},
};

/// How often the takeover reads again what stands in its way; each time somebody else's session has just ended.
const TAKEOVER_ATTEMPTS: usize = 5;
/// How many ended candidacies of this process are remembered; one that is older than a few session timeouts is long
/// gone from the line by itself.
const REMEMBERED: usize = 16;

/// The data of a node in the line.
#[derive(Debug, Serialize, Deserialize)]
struct CandidateNode {
    id: String,
    address: String,
}

/// The data of [`paths::MASTER`], readable for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct MasterNode {
    pub host: String,
    pub port: u16,
    pub term: u64,
}

/// Sessions on which this process stood in line. Their nodes may outlive them by a session timeout: a candidate of the
/// same process need not stand behind those.
#[derive(Debug, Clone, Default)]
pub struct EndedCandidacies(Arc<Mutex<VecDeque<i64>>>);

impl EndedCandidacies {
    fn contains(&self, session: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }

    fn remember(&self, session: i64) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() == REMEMBERED {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }
}

/// One stand in the line; remembered when it ends, however it ends.
pub struct Candidacy {
    session: i64,
    ended: EndedCandidacies,
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        self.ended.remember(self.session);
    }
}

/// Stands in line until it leads.
///
/// # Errors
/// The candidacy is over, and its session closed.
pub async fn campaign(
    sessions: &Sessions,
    candidate: &Candidate,
    ended: &EndedCandidacies,
    packing: bool,
) -> Result<Box<dyn Leadership>, StoreError> {
    let master = master_node(candidate, Term::default())?;
    let client = sessions.open().await?;
    let candidacy = Candidacy { session: client.session_id().0, ended: ended.clone() };
    tokio::select! {
        reason = vigil::trouble(&client) => Err(StoreError::Lost(format!("the candidacy is over: {reason}"))),
        leadership = stand(&client, candidate, master, candidacy, packing) => {
            let leadership = leadership?;
            Ok(Box::new(leadership))
        }
    }
}

async fn stand(
    client: &Client,
    candidate: &Candidate,
    mut master: MasterNode,
    candidacy: Candidacy,
    packing: bool,
) -> Result<ZooKeeperLeadership, StoreError> {
    let limit = client.session_timeout();
    layout::ensure(client, limit).await?;
    remove_ended(client, limit, &candidacy.ended).await?;

    let data = json(&CandidateNode { id: candidate.id.to_string(), address: candidate.address.clone() });
    let prefix = LockPrefix::new_curator(paths::ELECTION, paths::LATCH).map_err(lost("standing in line"))?;
    let lock = client.lock(prefix, &data, Acls::anyone_all()).await.map_err(lost("standing in line"))?.into_owned();
    let term = paths::term(lock.lock_path())
        .ok_or_else(|| StoreError::Broken(format!("{} has no number that could be a term", lock.lock_path())))?;
    if term > Term::HIGHEST {
        return Err(StoreError::Broken(format!("{term} is past the last term that revisions have room for")));
    }
    master.term = term.0;
    let version = take_over(client, limit, &lock, term, &json(&master), packing).await?;
    info!(%term, address = candidate.address, session = %client.session_id(), "leads");
    ZooKeeperLeadership::begin(lock, candidacy, term, version, packing).await
}

/// Removes the nodes that earlier candidacies of this process left in the line.
async fn remove_ended(client: &Client, limit: Duration, ended: &EndedCandidacies) -> Result<(), StoreError> {
    let names = within(limit, client.list_children(paths::ELECTION)).await.map_err(lost("listing the line"))?;
    for name in names {
        let path = paths::child(paths::ELECTION, &name);
        let stat = within(limit, client.check_stat(&path)).await.map_err(lost("looking at the line"))?;
        if stat.is_some_and(|stat| ended.contains(stat.ephemeral_owner)) {
            info!(%path, "leaves the line of an earlier session");
            match within(limit, client.delete(&path, None)).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => return Err(lost("leaving the line of an earlier session")(error)),
            }
        }
    }
    Ok(())
}

/// Makes the new term a fact: from here on nobody of an earlier one can write, and everybody can read who leads.
/// Returns the version at which the chain of commits begins.
async fn take_over(
    client: &Client,
    limit: Duration,
    lock: &OwnedLockClient,
    term: Term,
    master: &[u8],
    packing: bool,
) -> Result<Version, StoreError> {
    for _ in 0..TAKEOVER_ATTEMPTS {
        let (data, stat) = within(limit, client.get_data(paths::TASKS)).await.map_err(lost("reading the last term"))?;
        if let Some(last) = last_term(&data).filter(|last| *last >= term) {
            return Err(StoreError::Broken(format!(
                "term {last} has led, and {} would lead as term {term}: {} was removed and its numbers began anew; \
                 wait until they have passed it, or restore the tree",
                lock.lock_path(),
                paths::ELECTION
            )));
        }
        let (format, root) = layout::known_format(client, limit).await?;
        let known = within(limit, client.check_stat(paths::MASTER)).await.map_err(lost("reading who led"))?;
        let expect = Version::new(stat.version).map_or(Expect::Present, Expect::Version);
        let next = Version::new(stat.version.wrapping_add(1));

        let mut multi = Multi::new(client);
        let added = announce(&mut multi, lock.lock_path(), root, (term, expect), known.is_some(), master);
        // Once and for all: from here on there may be packed nodes, and who does not know them must not lead.
        let raise = packing && format < layout::PACKED;
        let number = layout::PACKED.to_string();
        let added = added
            .and_then(|()| if raise { multi.set(paths::ROOT.to_owned(), number.as_bytes(), root) } else { Ok(()) });
        added.map_err(lost("taking over"))?;
        let answer = tokio::time::timeout(limit, multi.commit()).await;
        match (answer.unwrap_or(Err(MultiError::Unknown(Error::Timeout))), next) {
            (Ok(()), Some(version)) => return Ok(version),
            // At the one version that cannot be expected; the next attempt goes past it.
            (Ok(()), None) => {}
            (Err(MultiError::Refused { path, error: Error::NoNode | Error::NodeExists }), _)
                if path == paths::MASTER => {}
            // Read again; if the format is another one, that ends it.
            (Err(MultiError::Refused { path, error: Error::BadVersion }), _) if path == paths::ROOT => {}
            (Err(MultiError::Refused { path, error: Error::NotEmpty }), _) if path == paths::MASTER => {
                remove_foreign_children(client, limit, paths::MASTER).await?;
            }
            (Err(error), _) => return Err(StoreError::Lost(format!("taking over: {error}"))),
        }
    }
    Err(StoreError::Lost(format!("{} changed at every attempt to take over", paths::MASTER)))
}

/// The write that makes a term a fact, if the format and the version of `/tasks` are the ones that were read.
pub fn announce(
    operations: &mut impl Operations,
    place: &str,
    format: Expect,
    (term, tasks): (Term, Expect),
    somebody_led: bool,
    master: &[u8],
) -> Result<(), Error> {
    operations.check(place.to_owned(), Expect::Present)?;
    operations.check(paths::ROOT.to_owned(), format)?;
    operations.set(paths::TASKS.to_owned(), term.to_string().as_bytes(), tasks)?;
    if somebody_led {
        operations.delete(paths::MASTER.to_owned(), Expect::Present)?;
    }
    // Not set: an earlier session's node would stay that session's, and go with it.
    operations.create(paths::MASTER.to_owned(), master, CreateMode::Ephemeral)
}

/// Nothing of Herdsman's lies below this node, and what does keeps it from being deleted.
async fn remove_foreign_children(client: &Client, limit: Duration, parent: &str) -> Result<(), StoreError> {
    for name in within(limit, client.list_children(parent)).await.map_err(lost("looking below a node"))? {
        let path = paths::child(parent, &name);
        warn!(%path, "removes what somebody else put in the way of every leader");
        within(limit, client.delete(&path, None)).await.map_err(lost("removing what is in the way"))?;
    }
    Ok(())
}

/// The highest term that has led; kept where every commit writes anyway.
fn last_term(data: &[u8]) -> Option<Term> {
    if data.is_empty() {
        return None;
    }
    let term = std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).map(Term);
    if term.is_none() {
        warn!(path = paths::TASKS, "the number of the last term cannot be read");
    }
    term
}

/// Deletes the leader's node in the line, if it is this leader's and `candidate` stands right behind it.
///
/// # Errors
/// Not known whether it was deleted.
pub async fn depose(client: &Client, suspect: &Leader, candidate: &Candidate) -> Result<bool, StoreError> {
    let limit = client.session_timeout();
    let names = within(limit, client.list_children(paths::ELECTION)).await.map_err(lost("listing the line"))?;
    let mut line: Vec<_> = names.into_iter().filter_map(|name| Some((paths::term(&name)?, name))).collect();
    line.sort_unstable();
    let [(first, leader), (_, next), ..] = line.as_slice() else { return Ok(false) };
    if *first != suspect.term {
        return Ok(false);
    }
    let [leader, next] = [leader, next].map(|name| paths::child(paths::ELECTION, name));
    let leads = read_candidate(client, limit, &leader).await?.is_some_and(|node| node.address == suspect.address);
    let id = candidate.id.to_string();
    if !leads || read_candidate(client, limit, &next).await?.is_none_or(|node| node.id != id) {
        return Ok(false);
    }
    match within(limit, client.delete(&leader, None)).await {
        Ok(()) => {
            warn!(term = %suspect.term, address = suspect.address, "deposed the leader");
            Ok(true)
        }
        Err(Error::NoNode) => Ok(false),
        Err(error) => Err(lost("deposing the leader")(error)),
    }
}

/// None: it has left, or its node is not one of ours.
async fn read_candidate(client: &Client, limit: Duration, path: &str) -> Result<Option<CandidateNode>, StoreError> {
    match within(limit, client.get_data(path)).await {
        Ok((data, _)) => Ok(serde_json::from_slice(&data).ok()),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(lost("reading the line")(error)),
    }
}

fn master_node(candidate: &Candidate, term: Term) -> Result<MasterNode, StoreError> {
    let (host, port) = split_address(&candidate.address)?;
    Ok(MasterNode { host, port, term: term.0 })
}

/// # Errors
/// Not host:port.
pub fn split_address(address: &str) -> Result<(String, u16), StoreError> {
    let split = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.ok_or_else(|| StoreError::Broken(format!("{address:?} is not host:port")))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

pub fn join_address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Membership nodes are for people too.
pub fn json(node: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(node).expect("texts and numbers always have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_and_join() {
        for address in ["127.0.0.1:7071", "[::1]:7071", "host.example:1"] {
            let (host, port) = split_address(address).unwrap();
            assert_eq!(join_address(&host, port), address);
        }
        assert!(split_address("host").is_err());
    }
}
