//! What watchers are told.

use std::collections::BTreeMap;

use super::Oracle;
use crate::{
    client::simulated::Update,
    domain::{Revision, TaskEvent, TaskId},
    proof::simulator::network::Host,
};

/// One stream of updates, from its opening to its end.
pub type StreamId = u64;

struct Last {
    revision: Revision,
    terminal: bool,
    /// How many pushes of the task its client service had heard when this was told.
    heard: usize,
}

struct Stream {
    host: Host,
    /// By filter: it may lead over tasks that it has not told yet.
    told: BTreeMap<TaskId, Last>,
}

#[derive(Default)]
pub struct Streams {
    last: StreamId,
    open: BTreeMap<StreamId, Stream>,
    /// The revisions that each client service was pushed, by task.
    pushed: BTreeMap<(Host, TaskId), Vec<Revision>>,
}

impl Oracle {
    pub fn opens(&mut self, host: Host) -> StreamId {
        self.streams.last += 1;
        self.streams.open.insert(self.streams.last, Stream { host, told: BTreeMap::new() });
        self.streams.last
    }

    /// A client service hears of a change.
    pub fn pushed(&mut self, host: Host, event: &TaskEvent) {
        self.streams.pushed.entry((host, event.task.id.clone())).or_default().push(event.task.revision);
        if event.task.state.is_terminal() {
            let (id, revision) = (event.task.id.clone(), event.task.revision);
            let ended = self.record(&id).status.as_ref().is_some_and(|status| status.revision == revision);
            if !ended {
                self.violation(format!("the end of {id} was pushed before it was durable"));
            }
        }
    }

    /// I8: revisions grow, what was left out is said, nothing follows the end, and the end is the one that is recorded.
    pub fn tells(&mut self, stream: StreamId, update: &Update) {
        let task = &update.task;
        let recorded = self.record(&task.id).status.clone();
        let Some(open) = self.streams.open.get_mut(&stream) else { return };
        let pushed = self.streams.pushed.get(&(open.host, task.id.clone())).map_or(&[][..], Vec::as_slice);
        let last = open.told.insert(
            task.id.clone(),
            Last { revision: task.revision, terminal: task.state.is_terminal(), heard: pushed.len() },
        );
        let mut problems = Vec::new();
        if let Some(last) = last {
            let mut between: Vec<_> = pushed[last.heard.min(pushed.len())..].to_vec();
            between.retain(|revision| *revision > last.revision && *revision < task.revision);
            between.dedup();
            if last.terminal {
                problems.push("was told after its end".to_owned());
            } else if task.revision <= last.revision {
                problems.push(format!("went from revision {:x} to {:x}", last.revision.0, task.revision.0));
            } else if between.len() > update.skipped as usize {
                problems.push(format!("left out {between:?}, and said {}", update.skipped));
            }
        }
        if task.state.is_terminal() {
            let same = recorded.as_ref().is_some_and(|status| {
                status.revision == task.revision
                    && status.outcome.as_ref().map(crate::domain::Outcome::state) == Some(task.state)
            });
            if !same {
                problems.push(format!("ended as {:?}, recorded is {recorded:?}", task.state));
            }
        }
        self.sights.conflations += u64::from(update.skipped > 0);
        for problem in problems {
            self.violation(format!("I8: stream {stream}: {} {problem}", task.id));
        }
    }
}
