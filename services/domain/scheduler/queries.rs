//! What can be read: nothing here changes anything.

use super::{Scheduler, queues::Queue};
use crate::domain::{
    Answer, ListQuery, Located, Now, Page, QueueName, QueuePage, QueueQuery, QueueView, Refusal, Revision, Selector,
    Task, TaskId, TaskState, Term, Trials, WorkerOffer, WorkerPage, WorkerQuery, WorkerView,
};

/// Most bytes of the tasks, or of the workers, of one page; the last one may pass it.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// What a task costs in a page beside its labels, its failure and its progress: ids, names, times.
const TASK_BYTES: usize = 512;
/// What a worker costs in a page beside what it offers: ids, numbers.
const WORKER_BYTES: usize = 256;
/// Most tasks, or queues and their kinds, that one page looks at: a filter that hardly anything matches never holds up what people wait for.
const MAX_LOOKS: usize = 2_000;

/// The tasks and the workers in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub tasks: u64,
    pub bytes: u64,
    pub corrupt_records: u64,
    /// With tasks, or with settings of their own.
    pub queues: u64,
    pub workers: u32,
    pub slots: u32,
    pub busy_slots: u32,
    /// There or not.
    pub drained_workers: u64,
}

impl Scheduler {
    pub fn term(&self) -> Term {
        self.term
    }

    pub fn get(&self, task_id: &TaskId) -> Answer {
        if self.table.is_corrupt(task_id) {
            return Answer::Refused(Refusal::CorruptRecord);
        }
        self.table.get(task_id).map_or(Answer::Refused(Refusal::TaskNotFound), |entry| Answer::Task(entry.task.clone()))
    }

    /// A task, and the worker of its current or last attempt.
    pub fn locate(&self, task_id: &TaskId) -> Answer {
        match self.get(task_id) {
            Answer::Task(task) => {
                let worker = task.worker.as_ref().and_then(|worker| self.fleet.view(worker));
                Answer::Located(Box::new(Located { task, worker }))
            }
            refused => refused,
        }
    }

    /// The present states of these tasks.
    pub fn present(&self, task_ids: &[TaskId]) -> Page {
        let mut page = Page::default();
        for task_id in task_ids {
            match self.table.get(task_id) {
                Some(entry) => page.tasks.push(entry.task.clone()),
                None if self.table.is_corrupt(task_id) => page.corrupt.push(task_id.clone()),
                None => page.missing.push(task_id.clone()),
            }
        }
        page
    }

    /// A page of what a query is for. One that asks only for what has changed after a revision gets it in the order of
    /// revisions, as far as the changes are remembered; any other in the order of ids.
    pub fn list(&self, query: &ListQuery) -> Page {
        match self.recent.after(query.after_revision) {
            Some(changes) if query.after.is_none() => self.list_changed(query, changes),
            _ => self.list_all(query),
        }
    }

    fn list_changed<'a>(&self, query: &ListQuery, changes: impl Iterator<Item = (Revision, &'a TaskId)>) -> Page {
        let mut page = Page::default();
        let (mut looks, mut bytes) = (0, 0);
        let mut last = None;
        for (revision, task_id) in changes {
            if looks == MAX_LOOKS || page.tasks.len() >= query.page_size as usize || bytes >= MAX_PAGE_BYTES {
                page.next_after_revision = last;
                break;
            }
            looks += 1;
            last = Some(revision);
            let task = self.table.get(task_id).map(|entry| &entry.task);
            // What has changed once more comes later.
            if let Some(task) = task.filter(|task| task.revision == revision && query.filter.matches(task)) {
                bytes += page_bytes(task);
                page.tasks.push(task.clone());
            }
        }
        page
    }

    fn list_all(&self, query: &ListQuery) -> Page {
        let mut page = Page::default();
        let (mut looks, mut bytes) = (0, 0);
        let mut last: Option<&TaskId> = None;
        for entry in self.table.after(query.after.as_ref()) {
            if looks == MAX_LOOKS || page.tasks.len() >= query.page_size as usize || bytes >= MAX_PAGE_BYTES {
                page.next_after = last.cloned();
                break;
            }
            looks += 1;
            last = Some(&entry.task.id);
            let task = &entry.task;
            if task.revision > query.after_revision && query.filter.matches(task) {
                bytes += page_bytes(task);
                page.tasks.push(task.clone());
            }
        }
        page
    }

    pub fn count(&self, state: TaskState) -> u64 {
        self.table.count(state)
    }

    pub fn workers(&self, query: &WorkerQuery) -> WorkerPage {
        let mut page = WorkerPage::default();
        let mut bytes = 0;
        for view in self.fleet.views(query.after.as_ref()) {
            if page.workers.len() >= query.page_size as usize || bytes >= MAX_PAGE_BYTES {
                page.next_after = page.workers.last().map(|last: &WorkerView| last.worker_id.clone());
                break;
            }
            bytes += WORKER_BYTES + view.offer.as_ref().map_or(0, offer_bytes);
            page.workers.push(view);
        }
        page
    }

    /// A queue; one that nobody has used and nobody has set anything of is as any other without tasks.
    pub fn queue(&self, now: Now, name: &QueueName) -> QueueView {
        self.queues
            .get(name)
            .map_or_else(|| self.view(now, name, &Queue::default()), |queue| self.view(now, name, queue))
    }

    pub fn queues(&self, now: Now, query: &QueueQuery) -> QueuePage {
        let mut page = QueuePage::default();
        let mut looks = 0;
        for (name, queue) in self.queues.after(query.after.as_ref()) {
            if page.queues.len() >= query.page_size as usize || looks >= MAX_LOOKS {
                page.next_after = page.queues.last().map(|last: &QueueView| last.name.clone());
                break;
            }
            looks += 1 + queue.lanes();
            page.queues.push(self.view(now, name, queue));
        }
        page
    }

    /// The queues with settings of their own: at most [`QueueSettings::MAX_CONFIGURED`](crate::domain::QueueSettings).
    pub fn configured_queues(&self) -> impl Iterator<Item = (&QueueName, &[u64; TaskState::ALL.len()])> {
        self.queues.configured().map(|(name, queue)| (name, queue.counts()))
    }

    fn view(&self, now: Now, name: &QueueName, queue: &Queue) -> QueueView {
        QueueView {
            name: name.clone(),
            settings: queue.settings().clone(),
            state: queue.state(now.monotonic),
            tasks: *queue.counts(),
            oldest_pending: queue.oldest().and_then(|id| self.table.get(id)).map(|entry| entry.task.create_time),
        }
    }

    pub fn totals(&self) -> Totals {
        let (workers, slots, busy_slots) = self.fleet.totals();
        Totals {
            tasks: self.table.tasks(),
            bytes: self.table.bytes(),
            corrupt_records: self.table.corrupt(),
            queues: self.queues.len() as u64,
            workers,
            slots,
            busy_slots,
            drained_workers: self.fleet.drains.len() as u64,
        }
    }
}

fn offer_bytes(offer: &WorkerOffer) -> usize {
    let kinds: usize = offer.kinds.iter().map(|kind| kind.as_str().len()).sum();
    let queues: usize = offer.queues.iter().map(|queue| queue.as_str().len()).sum();
    let labels: usize = offer.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    offer.address.len() + offer.version.len() + kinds + queues + labels
}

fn page_bytes(task: &Task) -> usize {
    let failure = match &task.outcome {
        Some(crate::domain::Outcome::Failed(failure)) => failure.message.len(),
        _ => 0,
    };
    let progress = task.progress.as_ref().map_or(0, |progress| progress.bytes());
    let trials = task.trials.as_deref().map_or(0, Trials::bytes);
    let selector = task.spec.selector.as_deref().map_or(0, Selector::bytes_in_record);
    TASK_BYTES + task.spec.labels.bytes() + selector + failure + progress + trials
}
