//! Many nodes, fast: several requests of many reads each are on their way at once, and no answer is much larger than it
//! should be, although nobody knows a node's size before it is read.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesOrdered};
use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use super::session::within;

/// Requests on their way at once.
const IN_FLIGHT: usize = 4;
/// Most nodes of one request; more gain little (measured).
const MOST_NODES: usize = 500;
/// Nodes of the first requests: even of the largest (64 KiB each), these are no more than 1 MiB.
const FIRST_NODES: usize = 16;
/// How large an answer should be, in bytes: half of what a server accepts itself, as for a commit.
const ANSWER_BYTES: usize = 512 * 1024;
/// What an answer holds for each node beside its data, in bytes.
const STAT_BYTES: usize = 80;

/// A node as it was read, or why it was not: [`Error::NoNode`], or something that concerns this node only.
pub type Node = Result<(Vec<u8>, Stat), Error>;

/// Reads `N` nodes for each key, in the order of the keys.
///
/// # Errors
/// The reading as a whole failed; `each` has seen some of the keys.
pub async fn read<K, const N: usize>(
    client: &Client,
    limit: Duration,
    keys: impl IntoIterator<Item = K>,
    paths: impl Fn(&K) -> [String; N],
    mut each: impl FnMut(K, [Node; N]),
) -> Result<(), Error> {
    let mut keys = keys.into_iter();
    let mut size = FIRST_NODES.div_ceil(N);
    let mut in_flight = FuturesOrdered::new();
    loop {
        while in_flight.len() < IN_FLIGHT {
            let batch: Vec<K> = keys.by_ref().take(size).collect();
            if batch.is_empty() {
                break;
            }
            let mut reader = client.new_multi_reader();
            for key in &batch {
                paths(key).iter().try_for_each(|path| reader.add_get_data(path))?;
            }
            let answer = reader.commit();
            in_flight.push_back(async move { (batch, within(limit, answer).await) });
        }
        let Some((batch, answer)) = in_flight.next().await else { return Ok(()) };
        let nodes = answer?;
        if nodes.len() != batch.len() * N {
            return Err(Error::UnexpectedError(format!("{} results for {} reads", nodes.len(), batch.len() * N)));
        }
        let mut bytes = 0;
        let mut nodes = nodes.into_iter().map(node).inspect(|node| {
            bytes += STAT_BYTES + node.as_ref().map_or(0, |(data, _)| data.len());
        });
        for key in batch {
            each(key, std::array::from_fn(|_| nodes.next().unwrap_or(Err(Error::NoNode))));
        }
        drop(nodes);
        size = next_size(size, bytes, MOST_NODES / N);
    }
}

fn node(result: MultiReadResult) -> Node {
    match result {
        MultiReadResult::Data { data, stat } => Ok((data, stat)),
        MultiReadResult::Error { err } => Err(err),
        _ => Err(Error::UnexpectedError("an answer to another question".into())),
    }
}

/// Twice as many while the answers are small, half as many when one was too large.
fn next_size(size: usize, bytes: usize, most: usize) -> usize {
    match bytes {
        bytes if bytes > ANSWER_BYTES => (size / 2).max(1),
        bytes if bytes < ANSWER_BYTES / 4 => (size * 2).min(most),
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_request_follows_the_size_of_its_answers() {
        let (mut small, mut large) = (16, 200);
        for _ in 0..10 {
            small = next_size(small, small * 200, 500);
            large = next_size(large, large * 64 * 1024, 500);
        }
        assert_eq!(small, 500);
        assert!(large * 64 * 1024 <= ANSWER_BYTES && large > 1, "{large}");
        assert_eq!(next_size(1, 2 * ANSWER_BYTES, 500), 1);
    }
}
