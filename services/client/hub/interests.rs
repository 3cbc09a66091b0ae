//! Which tasks are watched on the link, for which streams, and which of them have to be asked about. However many
//! streams follow a task, the leader knows of one interest in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::registry::StreamId;
use crate::domain::TaskId;

/// Tasks of one question: with a result of 64 KiB each, the answer stays within a message.
pub(super) const TASKS_A_QUESTION: usize = 32;
/// Tasks of one message that lets them go.
const TASKS_AN_UNWATCH: usize = 1_000;

/// Tasks that are asked about, each with the streams that wait for its first state.
pub(super) type Asked = Vec<(TaskId, BTreeSet<StreamId>)>;

#[derive(Debug, Default)]
struct Interest {
    streams: BTreeSet<StreamId>,
    /// Those of them that wait for their first state from the next question.
    joining: BTreeSet<StreamId>,
    /// Its place in the queue, if it has to be asked about.
    place: Option<u64>,
    /// It was asked about on this link, so that the leader may watch it.
    asked: bool,
}

#[derive(Debug, Default)]
pub(super) struct Interests {
    tasks: HashMap<TaskId, Interest>,
    last_place: u64,
    /// To be asked about, by their places: never more than are watched.
    queue: BTreeMap<u64, TaskId>,
    /// Not watched any more, and the leader does not know: never more than it was asked about.
    unwatched: Vec<TaskId>,
}

impl Interests {
    /// These streams follow the task, and get their first state from a question that is still to be asked.
    pub(super) fn join(&mut self, task_id: TaskId, streams: impl IntoIterator<Item = StreamId>) {
        let streams: Vec<_> = streams.into_iter().collect();
        if streams.is_empty() {
            return;
        }
        let interest = self.tasks.entry(task_id.clone()).or_default();
        interest.streams.extend(&streams);
        interest.joining.extend(&streams);
        if interest.place.is_none() {
            self.last_place += 1;
            interest.place = Some(self.last_place);
            self.queue.insert(self.last_place, task_id);
        }
    }

    pub(super) fn leave(&mut self, task_id: &TaskId, stream: StreamId) {
        if let Some(interest) = self.tasks.get_mut(task_id) {
            interest.streams.remove(&stream);
            interest.joining.remove(&stream);
            self.forget_if_unwatched(task_id);
        }
    }

    pub(super) fn streams(&self, task_id: &TaskId) -> impl Iterator<Item = StreamId> {
        self.tasks.get(task_id).into_iter().flat_map(|interest| &interest.streams).copied()
    }

    /// An ended task is told no more; only who has yet to hear its first state stays.
    pub(super) fn ended(&mut self, task_id: &TaskId) {
        if let Some(interest) = self.tasks.get_mut(task_id) {
            interest.streams.clone_from(&interest.joining);
            self.forget_if_unwatched(task_id);
        }
    }

    /// The leader answered that a task cannot be watched: it is let go for those that followed it already, and these are
    /// they. Who waits for a later answer stays, be that one's question still to be asked or, as these, on its way.
    pub(super) fn fail(&mut self, task_id: &TaskId, waiting: &BTreeSet<StreamId>) -> BTreeSet<StreamId> {
        let Some(interest) = self.tasks.get_mut(task_id) else { return BTreeSet::new() };
        let stays = |id: &StreamId| interest.joining.contains(id) || waiting.contains(id);
        let (stay, failed) = std::mem::take(&mut interest.streams).into_iter().partition(stays);
        interest.streams = stay;
        self.forget_if_unwatched(task_id);
        failed
    }

    /// The link is gone, and with it what its leader knew.
    pub(super) fn lost(&mut self) {
        self.unwatched.clear();
        self.tasks.values_mut().for_each(|interest| interest.asked = false);
    }

    /// A new link, whose leader knows of no interest.
    pub(super) fn ask_about_all(&mut self) {
        // By their ids: an order that does not change from one run to the next.
        let unplaced: BTreeMap<_, _> = self.tasks.iter_mut().filter(|(_, interest)| interest.place.is_none()).collect();
        for (task_id, interest) in unplaced {
            self.last_place += 1;
            interest.place = Some(self.last_place);
            self.queue.insert(self.last_place, task_id.clone());
        }
    }

    /// Some of the tasks that have to be asked about; empty if there is none.
    pub(super) fn next_question(&mut self) -> Asked {
        let mut asked = Asked::new();
        while asked.len() < TASKS_A_QUESTION {
            let Some((_, task_id)) = self.queue.pop_first() else { break };
            if let Some(interest) = self.tasks.get_mut(&task_id) {
                interest.place = None;
                interest.asked = true;
                let joining = std::mem::take(&mut interest.joining);
                asked.push((task_id, joining));
            }
        }
        asked
    }

    /// Some of the tasks that the leader has to be told are not watched any more.
    pub(super) fn next_unwatched(&mut self) -> Vec<TaskId> {
        self.unwatched.drain(..self.unwatched.len().min(TASKS_AN_UNWATCH)).collect()
    }

    fn forget_if_unwatched(&mut self, task_id: &TaskId) {
        if self.tasks.get(task_id).is_some_and(|interest| interest.streams.is_empty())
            && let Some(Interest { place, asked, .. }) = self.tasks.remove(task_id)
        {
            if let Some(place) = place {
                self.queue.remove(&place);
            }
            if asked {
                self.unwatched.push(task_id.clone());
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        self.queue.len() + self.unwatched.len()
    }
}
