//! What one stream has yet to be told. Bounded whatever its reader does: a task that changes again replaces its own
//! unread change, and a reader that falls behind on too many tasks at once is sent away to resume.
//!
//! A stream is told its first states, then changes in the order of their revisions. A step of first states comes in only
//! when the one before it was read, so that a slow reader cannot make them pile up.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    domain::{Outcome, Revision, Task, TaskId},
    wire::CallError,
};

/// Most distinct tasks with an unread change, for a watch by filter.
pub(super) const MAX_PENDING_TASKS: usize = 10_000;
/// Most bytes of results, failures and progress among unread changes: 64 of the largest.
pub(super) const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub task: Arc<Task>,
    /// Changes of this task since its last update that were not told.
    pub skipped: u32,
    /// Where a later watch goes on.
    pub resume: Revision,
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every task that it watches has ended, and it was told.
    Complete,
    /// Watch again, with the resume revision.
    Resume,
    /// With an error, at once.
    Failed { error: CallError, task_id: Option<TaskId> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Update(Update),
    Nothing,
    End(End),
}

/// What a mailbox of ids knows of one of them.
#[derive(Debug, Default)]
struct Followed {
    /// Newest revision that was accepted.
    newest: Revision,
    /// Its first state is in.
    primed: bool,
    /// Its terminal state was accepted: nothing more comes.
    ended: bool,
}

#[derive(Debug)]
struct Pending {
    task: Arc<Task>,
    skipped: u32,
}

#[derive(Debug)]
pub(super) struct Mailbox {
    /// Of a watch by ids; None: by filter.
    ids: Option<HashMap<TaskId, Followed>>,
    /// Ids whose first state is not in, and ids that have not ended.
    unprimed: usize,
    open: usize,
    /// What the reader may resume from until its first states are told.
    base: Revision,
    /// Of everything that came in: nothing up to it is missing.
    highest: Revision,
    first: VecDeque<Pending>,
    /// No more first states come.
    complete: bool,
    /// The first states are ones that were missed, between two links or in a storm: a change that they overtake was skipped.
    catching_up: bool,
    /// So many changes came before the first states of a watch by filter that those after this revision were dropped.
    missed: Option<Revision>,
    /// First states, or pages of them, that were asked for and are not in.
    awaited: usize,
    /// The reader was told something.
    told: bool,
    pending: HashMap<TaskId, Pending>,
    order: BTreeSet<(Revision, TaskId)>,
    bytes: usize,
    end: Option<End>,
}

impl Mailbox {
    pub(super) fn of_ids(ids: &BTreeSet<TaskId>, after: Revision) -> Self {
        let followed = ids.iter().map(|id| (id.clone(), Followed::default())).collect();
        Self { ids: Some(followed), unprimed: ids.len(), open: ids.len(), ..Self::of_filter(after) }
    }

    pub(super) fn of_filter(after: Revision) -> Self {
        Self {
            ids: None,
            unprimed: 0,
            open: 0,
            base: after,
            highest: after,
            first: VecDeque::new(),
            complete: false,
            catching_up: false,
            missed: None,
            awaited: 0,
            told: false,
            pending: HashMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            end: None,
        }
    }

    /// A task's first state, or, after a new link, its present one. A state that the reader has is not told again,
    /// unless it is the terminal one of a task that is watched by its id.
    pub(super) fn snapshot(&mut self, task: &Arc<Task>) {
        if self.end.is_some() {
            return;
        }
        let (id, terminal) = (&task.id, task.state.is_terminal());
        let overtaken = match self.pending.get(id) {
            Some(pending) if pending.task.revision <= task.revision || terminal => true,
            Some(_) | None => false,
        };
        if let Some(ids) = &mut self.ids {
            let Some(followed) = ids.get_mut(id) else { return };
            if followed.primed {
                return self.change(task);
            }
            followed.primed = true;
            followed.newest = followed.newest.max(task.revision);
            let pending_end = !overtaken && self.pending.get(id).is_some_and(|p| p.task.state.is_terminal());
            followed.ended = terminal || pending_end;
            self.unprimed -= 1;
            self.awaited = self.awaited.saturating_sub(1);
            self.open -= usize::from(followed.ended);
            self.complete = self.unprimed == 0;
        }
        self.highest = self.highest.max(task.revision);
        let overtaken = if overtaken { self.take(id) } else { None };
        let skipped = overtaken.filter(|_| self.catching_up).map_or(0, |pending| {
            let itself = pending.task.revision == task.revision;
            pending.skipped.saturating_add(u32::from(!itself))
        });
        if task.revision > self.base || (terminal && self.ids.is_some()) {
            self.bytes += bytes(task);
            self.first.push_back(Pending { task: task.clone(), skipped });
        }
    }

    /// So many first states of a watch by ids were asked for.
    pub(super) fn asked(&mut self, first_states: usize) {
        self.awaited = first_states;
    }

    /// Of a watch by filter: a page of first states is in, and whether it was the last. Some: it was, but what has changed
    /// since this revision has to be asked for.
    pub(super) fn page_done(&mut self, last: bool) -> Option<Revision> {
        self.awaited = 0;
        let missed = if last { self.missed.take() } else { None };
        self.complete = last && missed.is_none();
        self.catching_up = !self.complete && (self.catching_up || missed.is_some());
        missed
    }

    /// A change, as it happened.
    pub(super) fn change(&mut self, task: &Arc<Task>) {
        if self.end.is_some() {
            return;
        }
        let mut counts = true;
        if let Some(ids) = &mut self.ids {
            let Some(followed) = ids.get_mut(&task.id) else { return };
            let terminal = task.state.is_terminal();
            if followed.ended || (task.revision <= followed.newest && !terminal) {
                return;
            }
            followed.newest = followed.newest.max(task.revision);
            // Before the first state nothing is skipped: the reader has not begun with this task.
            counts = followed.primed;
            if terminal && followed.primed {
                followed.ended = true;
                self.open -= 1;
            }
        } else if self.pending.get(&task.id).is_some_and(|pending| pending.task.revision >= task.revision) {
            return;
        }
        self.highest = self.highest.max(task.revision);
        let replaced = self.take(&task.id);
        let skipped = replaced.filter(|_| counts).map_or(0, |pending| pending.skipped.saturating_add(1));
        self.bytes += bytes(task);
        self.order.insert((task.revision, task.id.clone()));
        self.pending.insert(task.id.clone(), Pending { task: task.clone(), skipped });
        let full = self.pending.len() > MAX_PENDING_TASKS || self.bytes > MAX_PENDING_BYTES;
        match (full, self.ids.is_none() && !self.complete) {
            (true, true) => self.miss(),
            (true, false) => self.end(End::Resume),
            (false, _) => {}
        }
    }

    /// Drops the changes that have come before the first states: a reader that was sent away would begin with those again,
    /// and never come to their end.
    fn miss(&mut self) {
        let before = self.order.first().map(|(revision, _)| Revision(revision.0.saturating_sub(1)));
        self.missed = self.missed.into_iter().chain(before).min();
        for (_, pending) in self.pending.drain() {
            self.bytes -= bytes(&pending.task);
        }
        self.order.clear();
    }

    /// Of a watch by filter whose link was lost: the revision after which changes may be missing. None: first states
    /// were still coming, and the reader, which has some of them, has to begin again.
    pub(super) fn catch_up(&mut self) -> Option<Revision> {
        self.awaited = 1;
        if self.complete {
            self.base = self.resume();
            self.complete = false;
            self.catching_up = true;
        } else if self.told {
            self.end(End::Resume);
            return None;
        } else {
            self.clear();
            (self.missed, self.highest) = (None, self.base);
        }
        Some(self.highest)
    }

    /// The next thing to tell.
    pub(super) fn next(&mut self) -> Next {
        if let Some(end) = &self.end {
            return Next::End(end.clone());
        }
        if let Some(Pending { task, skipped }) = self.first.pop_front() {
            self.bytes -= bytes(&task);
            self.told = true;
            return Next::Update(Update { task, skipped, resume: self.resume() });
        }
        if !self.complete {
            return Next::Nothing;
        }
        if let Some((_, id)) = self.order.first().cloned()
            && let Some(Pending { task, skipped }) = self.take(&id)
        {
            self.told = true;
            return Next::Update(Update { task, skipped, resume: self.resume() });
        }
        if self.ids.is_some() && self.open == 0 { Next::End(End::Complete) } else { Next::Nothing }
    }

    /// Whether it is time to ask for the next step of first states; true once for each step.
    pub(super) fn wants_step(&mut self) -> bool {
        let wants = !self.complete && self.awaited == 0 && self.first.is_empty() && self.end.is_none();
        self.awaited += usize::from(wants);
        wants
    }

    /// Ends the stream: what was not told is dropped. The first end stands.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.clear();
    }

    fn clear(&mut self) {
        self.first = VecDeque::new();
        self.pending = HashMap::new();
        self.order = BTreeSet::new();
        self.bytes = 0;
    }

    /// Everything up to it has been told, or was overtaken by something that is still to be told.
    fn resume(&self) -> Revision {
        if !self.complete || !self.first.is_empty() {
            return self.base;
        }
        let told = self.order.first().map_or(self.highest, |(revision, _)| Revision(revision.0.saturating_sub(1)));
        told.min(self.highest).max(self.base)
    }

    fn take(&mut self, id: &TaskId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        self.order.remove(&(pending.task.revision, id.clone()));
        self.bytes -= bytes(&pending.task);
        Some(pending)
    }
}

/// What a task weighs beyond its fixed size, in bytes; the spec is shared, and here without a payload that weighs anything.
fn bytes(task: &Task) -> usize {
    let progress = task.progress.as_ref().map_or(0, |progress| progress.bytes());
    let trials = task.trials.as_ref().map_or(0, |trials| trials.bytes());
    task.outcome.as_ref().map_or(0, Outcome::bytes) + progress + trials
}
