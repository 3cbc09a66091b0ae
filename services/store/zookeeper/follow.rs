//! Who leads, for those who only want to know. An outage of ZooKeeper is no news: the last leader stays the answer until
//! another is read, because links to it may work on.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use tracing::{debug, info, warn};
use zookeeper_client::{Client, Error, EventType};

use super::{
    election::{MasterNode, join_address},
    paths,
    session::{Sessions, within},
    vigil,
};
use crate::{domain::Term, store::Leader};

/// Between attempts to reach ZooKeeper: soon enough that an outage is over here within half a second of its end, and four
/// a second from each process do not hold up a server that comes back.
const PAUSE: Duration = Duration::from_millis(250);

/// Follows until every receiver is dropped.
pub fn follow(sessions: Sessions) -> watch::Receiver<Option<Leader>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = keep_following(&sessions, &sender) => {}
        }
    });
    receiver
}

async fn keep_following(sessions: &Sessions, leader: &watch::Sender<Option<Leader>>) {
    let mut reachable = true;
    loop {
        match sessions.open().await {
            Ok(client) => {
                reachable = true;
                // A session that lost its connection comes back slower than a new one.
                let reason = tokio::select! {
                    reason = vigil::trouble(&client) => reason,
                    error = follow_on(&client, leader) => error.to_string(),
                };
                info!(%reason, "follows the leader on another session");
            }
            Err(error) if reachable => {
                warn!(%error, "cannot see who leads");
                reachable = false;
            }
            Err(error) => debug!(%error, "cannot see who leads"),
        }
        sleep(PAUSE).await;
    }
}

/// Reads and waits on one session, until that fails.
async fn follow_on(client: &Client, leader: &watch::Sender<Option<Leader>>) -> Error {
    let limit = client.session_timeout();
    loop {
        let watcher = match within(limit, client.get_and_watch_data(paths::MASTER)).await {
            Ok((data, _, watcher)) => {
                publish(leader, parse(&data));
                watcher
            }
            Err(Error::NoNode) => match within(limit, client.check_and_watch_stat(paths::MASTER)).await {
                // It came in between; read it.
                Ok((Some(_), _)) => continue,
                Ok((None, watcher)) => {
                    publish(leader, None);
                    watcher
                }
                Err(error) => return error,
            },
            Err(error) => return error,
        };
        let event = watcher.changed().await;
        if event.event_type == EventType::Session {
            return Error::SessionExpired;
        }
    }
}

fn publish(leader: &watch::Sender<Option<Leader>>, found: Option<Leader>) {
    leader.send_if_modified(|current| {
        let news = *current != found;
        if news {
            debug!(?found, "the leader changed");
            *current = found;
        }
        news
    });
}

fn parse(data: &[u8]) -> Option<Leader> {
    match serde_json::from_slice::<MasterNode>(data) {
        Ok(node) => Some(Leader { address: join_address(&node.host, node.port), term: Term(node.term) }),
        Err(error) => {
            warn!(path = paths::MASTER, %error, "cannot read who leads");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_somebody_else_wrote_names_no_leader() {
        assert_eq!(parse(b"127.0.0.1:7071"), None);
        assert_eq!(parse(br#"{"host":"::1","port":70000,"term":1}"#), None);
        let leader = Leader { address: "[::1]:7071".into(), term: Term(3) };
        assert_eq!(parse(br#"{"host":"::1","port":7071,"term":3}"#), Some(leader));
    }
}
