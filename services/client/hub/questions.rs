//! The questions that the hub has asked, or is about to ask, on the present link. A table without IO; what the answers
//! mean is the registry's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{interests::Asked, registry::StreamId};
use crate::{
    client::leader_link::HubRequest,
    domain::{Call, ListQuery, TaskFilter, TaskId},
};

/// Questions about tasks that wait for their answers: enough to keep the link busy when everything is asked anew, few
/// enough that their answers take 64 MiB at the very most.
const ABOUT_TASKS: usize = 32;

#[derive(Debug)]
pub(super) enum Question {
    Tasks(Asked),
    Register(StreamId),
    Page(StreamId),
}

impl Question {
    fn tasks(&self) -> Option<&Asked> {
        if let Self::Tasks(asked) = self { Some(asked) } else { None }
    }

    fn is_about_filter(&self, stream: StreamId) -> bool {
        matches!(self, Self::Register(id) | Self::Page(id) if *id == stream)
    }
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Never used twice, so that an answer of an earlier link finds nothing.
    last_token: u64,
    /// Not answered. Of streams that are open: at most two for a filter.
    open: BTreeMap<u64, Question>,
    about_tasks: usize,
    /// What concerns filters and has not left yet, in order.
    out: VecDeque<HubRequest>,
}

impl Questions {
    /// The link is gone, and the answers with it: the tasks that nothing will be heard about.
    pub(super) fn lost(&mut self) -> Vec<Asked> {
        self.out.clear();
        self.about_tasks = 0;
        let tasks = |(_, question)| if let Question::Tasks(asked) = question { Some(asked) } else { None };
        std::mem::take(&mut self.open).into_iter().filter_map(tasks).collect()
    }

    pub(super) fn register(&mut self, stream: StreamId, filter: TaskFilter) {
        let call = Call::WatchFilter { filter_id: stream, filter: Box::new(filter) };
        let request = self.ask(Question::Register(stream), call);
        self.out.push_back(request);
    }

    pub(super) fn page(&mut self, stream: StreamId, query: ListQuery) {
        let request = self.ask(Question::Page(stream), Call::List(Box::new(query)));
        self.out.push_back(request);
    }

    /// A filter's stream is gone: nobody waits for its answers, and the leader is told if it has heard of it.
    pub(super) fn unregister(&mut self, stream: StreamId) {
        self.open.retain(|_, question| !question.is_about_filter(stream));
        let mut heard = true;
        self.out.retain(|request| {
            let HubRequest::Ask { token, call } = request else { return true };
            heard &= !matches!(call, Call::WatchFilter { filter_id, .. } if *filter_id == stream);
            self.open.contains_key(token)
        });
        if heard {
            self.out.push_back(HubRequest::Unwatch { task_ids: Vec::new(), filter_ids: vec![stream] });
        }
    }

    /// The next request that concerns a filter.
    pub(super) fn next_out(&mut self) -> Option<HubRequest> {
        self.out.pop_front()
    }

    /// Whether one more question about tasks may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.about_tasks < ABOUT_TASKS
    }

    pub(super) fn tasks(&mut self, asked: Asked) -> HubRequest {
        let task_ids = asked.iter().map(|(task_id, _)| task_id.clone()).collect();
        self.about_tasks += 1;
        self.ask(Question::Tasks(asked), Call::Watch { task_ids })
    }

    /// Takes out the question that an answer is for. None: nobody waits for it.
    pub(super) fn answered(&mut self, token: u64) -> Option<Question> {
        let question = self.open.remove(&token)?;
        self.about_tasks -= usize::from(matches!(question, Question::Tasks(_)));
        Some(question)
    }

    /// The streams whose first state of this task comes with an answer that is still to come.
    pub(super) fn waiting_for(&self, task_id: &TaskId) -> BTreeSet<StreamId> {
        let asked = self.open.values().filter_map(Question::tasks).flatten();
        asked.filter(|(asked, _)| asked == task_id).flat_map(|(_, joiners)| joiners).copied().collect()
    }

    fn ask(&mut self, question: Question, call: Call) -> HubRequest {
        self.last_token += 1;
        self.open.insert(self.last_token, question);
        HubRequest::Ask { token: self.last_token, call }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len() + self.out.len()
    }
}
