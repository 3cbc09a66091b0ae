//! Who watches what, and what the leader has to be asked for it. A struct without IO: links, events and answers come in,
//! requests come out of [`Registry::requests`].
//!
//! A task is watched once on the link, however many streams follow it. A stream's first state comes from a question
//! that was asked after the stream joined, so that it is never older than what its client already knows.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Weak},
};

use super::{
    interests::{Asked, Interests, TASKS_A_QUESTION},
    mailbox::{End, Mailbox},
    questions::{Question, Questions},
    slot::Slot,
};
use crate::{
    client::leader_link::{HubRequest, Notice},
    domain::{Answer, ListQuery, Page, Refusal, Revision, Task, TaskEvent, TaskFilter, TaskId},
    wire::CallError,
};

pub(super) type StreamId = u64;

/// What a stream watches.
#[derive(Debug, Clone)]
pub enum Target {
    Ids(BTreeSet<TaskId>),
    Filter(TaskFilter),
}

#[derive(Debug)]
struct Watcher {
    slot: Weak<Slot>,
    plan: Plan,
}

#[derive(Debug)]
enum Plan {
    Ids {
        /// Not asked about yet.
        rest: VecDeque<TaskId>,
        asked: Vec<TaskId>,
    },
    Filter(Box<Filtering>),
}

#[derive(Debug)]
struct Filtering {
    filter: TaskFilter,
    /// The next page of first states.
    query: ListQuery,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    link: Option<u64>,
    last_stream: StreamId,
    streams: HashMap<StreamId, Watcher>,
    filters: BTreeSet<StreamId>,
    interests: Interests,
    questions: Questions,
}

impl Registry {
    pub(super) fn join(&mut self, target: Target, after: Revision, slot: &Arc<Slot>) -> StreamId {
        self.last_stream += 1;
        let id = self.last_stream;
        let plan = match target {
            Target::Ids(ids) => Plan::Ids { rest: ids.into_iter().collect(), asked: Vec::new() },
            Target::Filter(filter) => {
                self.filters.insert(id);
                let query = first_page(&filter, after);
                Plan::Filter(Box::new(Filtering { filter, query }))
            }
        };
        self.streams.insert(id, Watcher { slot: Arc::downgrade(slot), plan });
        if self.filters.contains(&id) {
            self.register(id);
        }
        self.continue_if_wanted(id);
        id
    }

    pub(super) fn leave(&mut self, id: StreamId) {
        let Some(watcher) = self.streams.remove(&id) else { return };
        match watcher.plan {
            Plan::Ids { asked, .. } => {
                for task_id in asked {
                    self.interests.leave(&task_id, id);
                }
            }
            Plan::Filter(_) => {
                self.filters.remove(&id);
                if self.link.is_some() {
                    self.questions.unregister(id);
                }
            }
        }
    }

    /// Drops the streams whose readers are gone without a word.
    pub(super) fn sweep(&mut self) {
        let gone = |(&id, watcher): (&StreamId, &Watcher)| (watcher.slot.strong_count() == 0).then_some(id);
        let gone: BTreeSet<_> = self.streams.iter().filter_map(gone).collect();
        for id in gone {
            self.leave(id);
        }
    }

    /// A new link: everything is watched again, and its present state told.
    pub(super) fn up(&mut self, link: u64) {
        self.down();
        self.link = Some(link);
        self.interests.ask_about_all();
        for id in self.filters.clone() {
            self.register(id);
            self.ask_page(id);
        }
    }

    /// The link is gone, and the answers with it.
    pub(super) fn down(&mut self) {
        let had_link = self.link.take().is_some();
        self.interests.lost();
        for (task_id, joiners) in self.questions.lost().into_iter().flatten() {
            // Those that left are not asked for again.
            let joiners = joiners.into_iter().filter(|id| self.streams.contains_key(id));
            self.interests.join(task_id, joiners);
        }
        for id in self.filters.iter().filter(|_| had_link) {
            let Some(Watcher { slot, plan: Plan::Filter(filtering) }) = self.streams.get_mut(id) else {
                continue;
            };
            if let Some(after) = slot.upgrade().and_then(|slot| slot.update(Mailbox::catch_up)) {
                filtering.query = first_page(&filtering.filter, after);
            }
        }
    }

    /// Takes what the link tells.
    pub(super) fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Up { link } => self.up(link),
            Notice::Down => self.down(),
            Notice::Event(event) => self.event(event),
            Notice::Answer { token, answer } => self.answer(token, answer),
        }
    }

    pub(super) fn event(&mut self, event: TaskEvent) {
        let TaskEvent { task, previous_state } = event;
        for id in &self.filters {
            if let Some(Watcher { slot, plan: Plan::Filter(filtering) }) = self.streams.get(id)
                && filtering.filter.concerns(&task, previous_state)
                && let Some(slot) = slot.upgrade()
            {
                slot.update(|mailbox| mailbox.change(&task));
            }
        }
        self.tell(&task);
        if task.state.is_terminal() {
            self.interests.ended(&task.id);
        }
    }

    /// A stream has read its first states and wants the next step of them.
    pub(super) fn step(&mut self, id: StreamId) {
        let Some(watcher) = self.streams.get_mut(&id) else { return };
        let Plan::Ids { rest, asked } = &mut watcher.plan else { return self.ask_page(id) };
        let step: Vec<_> = rest.drain(..rest.len().min(TASKS_A_QUESTION)).collect();
        asked.extend(step.iter().cloned());
        if let Some(slot) = watcher.slot.upgrade() {
            slot.update(|mailbox| mailbox.asked(step.len()));
        }
        for task_id in step {
            self.interests.join(task_id, [id]);
        }
    }

    pub(super) fn answer(&mut self, token: u64, answer: Answer) {
        match self.questions.answered(token) {
            Some(Question::Tasks(asked)) => self.tasks_answered(asked, answer),
            Some(Question::Register(id)) => {
                if let Answer::Refused(refusal) = answer {
                    self.fail(id, &refusal.into(), None);
                }
            }
            Some(Question::Page(id)) => self.page_answered(id, answer),
            None => {}
        }
    }

    /// What to send next, with the link that it is for.
    pub(super) fn requests(&mut self) -> Option<(u64, HubRequest)> {
        let link = self.link?;
        // A task that is watched again after it was let go must be let go first.
        let task_ids = self.interests.next_unwatched();
        if !task_ids.is_empty() {
            return Some((link, HubRequest::Unwatch { task_ids, filter_ids: Vec::new() }));
        }
        if let Some(request) = self.questions.next_out() {
            return Some((link, request));
        }
        if !self.questions.has_room() {
            return None;
        }
        let asked = self.interests.next_question();
        (!asked.is_empty()).then(|| (link, self.questions.tasks(asked)))
    }

    fn register(&mut self, id: StreamId) {
        if let (Some(_), Some(Watcher { plan: Plan::Filter(filtering), .. })) = (self.link, self.streams.get(&id)) {
            self.questions.register(id, filtering.filter.clone());
        }
    }

    fn ask_page(&mut self, id: StreamId) {
        if let (Some(_), Some(Watcher { plan: Plan::Filter(filtering), .. })) = (self.link, self.streams.get(&id)) {
            self.questions.page(id, filtering.query.clone());
        }
    }

    fn tasks_answered(&mut self, asked: Asked, answer: Answer) {
        let Page { tasks, missing, corrupt, .. } = match answer {
            Answer::Page(page) => page,
            other => {
                let error = unexpected(other);
                return asked.iter().for_each(|(task_id, joiners)| self.fail_task(task_id, joiners, &error));
            }
        };
        let mut tasks: HashMap<_, _> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        let missing: BTreeSet<_> = missing.into_iter().collect();
        let corrupt: BTreeSet<_> = corrupt.into_iter().collect();
        for (task_id, joiners) in asked {
            if let Some(task) = tasks.remove(&task_id) {
                self.task_answered(&task, &joiners);
            } else if missing.contains(&task_id) {
                self.fail_task(&task_id, &joiners, &Refusal::TaskNotFound.into());
            } else if corrupt.contains(&task_id) {
                self.fail_task(&task_id, &joiners, &Refusal::CorruptRecord.into());
            } else {
                self.fail_task(&task_id, &joiners, &unexpected(Answer::Page(Page::default())));
            }
        }
    }

    fn fail_task(&mut self, task_id: &TaskId, joiners: &BTreeSet<StreamId>, error: &CallError) {
        // The answer is older than what those that joined since have asked: the task may be there by now.
        let others = self.interests.fail(task_id, &self.questions.waiting_for(task_id));
        for id in others.union(joiners) {
            self.fail(*id, error, Some(task_id));
        }
    }

    fn task_answered(&mut self, task: &Arc<Task>, joiners: &BTreeSet<StreamId>) {
        for id in joiners {
            self.with_slot(*id, |mailbox| mailbox.snapshot(task));
        }
        // Those that were there before: a change that they missed between two links.
        self.tell(task);
        if task.state.is_terminal() {
            self.interests.ended(&task.id);
        }
        for id in joiners {
            self.continue_if_wanted(*id);
        }
    }

    fn page_answered(&mut self, id: StreamId, answer: Answer) {
        let page = match answer {
            Answer::Page(page) => page,
            other => return self.fail(id, &unexpected(other), None),
        };
        let Some(Watcher { slot, plan: Plan::Filter(filtering) }) = self.streams.get_mut(&id) else { return };
        let Some(slot) = slot.upgrade() else { return };
        let more = page.turn(&mut filtering.query);
        let missed = slot.update(|mailbox| {
            page.tasks.into_iter().for_each(|task| mailbox.snapshot(&task));
            mailbox.page_done(!more)
        });
        if let Some(after) = missed {
            filtering.query = first_page(&filtering.filter, after);
        }
        self.continue_if_wanted(id);
    }

    /// An empty step is followed by the next one at once; a reader that has something to read asks by itself.
    fn continue_if_wanted(&mut self, id: StreamId) {
        if self.with_slot(id, Mailbox::wants_step) == Some(true) {
            self.step(id);
        }
    }

    fn tell(&self, task: &Arc<Task>) {
        for id in self.interests.streams(&task.id) {
            self.with_slot(id, |mailbox| mailbox.change(task));
        }
    }

    fn fail(&self, id: StreamId, error: &CallError, task_id: Option<&TaskId>) {
        let end = End::Failed { error: error.clone(), task_id: task_id.cloned() };
        self.with_slot(id, |mailbox| mailbox.end(end));
    }

    fn with_slot<T>(&self, id: StreamId, work: impl FnOnce(&mut Mailbox) -> T) -> Option<T> {
        let slot = self.streams.get(&id)?.slot.upgrade()?;
        Some(slot.update(work))
    }

    #[cfg(test)]
    pub(super) fn watched_tasks(&self) -> usize {
        self.interests.len()
    }

    /// What is kept for the leader to hear, or to answer.
    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        self.interests.backlog() + self.questions.len()
    }
}

/// What a watch by filter lists before it follows. One that goes on from an earlier place also lists what left the
/// filter by its state meanwhile: nobody else would tell.
fn first_page(filter: &TaskFilter, after: Revision) -> ListQuery {
    let mut filter = filter.clone();
    if after > Revision(0) {
        filter.states.clear();
    }
    ListQuery { filter, page_size: ListQuery::MAX_PAGE, after: None, after_revision: after }
}

fn unexpected(answer: Answer) -> CallError {
    match answer {
        Answer::Refused(refusal) => refusal.into(),
        _ => Refusal::Invalid("the leader's answer does not fit the question".into()).into(),
    }
}
