//! Who wants to be told of which tasks. Its invariant: a link is in the index of a task if and only if it watches it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::input::{Handle, LinkId};
use crate::{
    domain::{TaskEvent, TaskFilter, TaskId},
    wire::LeaderToClient,
};

/// Most tasks that one client service watches by id.
const MAX_WATCHED_TASKS: usize = 1_000_000;
/// Most filters of one client service: every change is held against each of them.
const MAX_FILTERS: usize = 1_000;

struct Client {
    link: Handle<LeaderToClient>,
    tasks: HashSet<TaskId>,
    filters: HashMap<u64, TaskFilter>,
}

/// The client services' links and what they watch.
#[derive(Default)]
pub(super) struct Clients {
    links: BTreeMap<LinkId, Client>,
    by_task: HashMap<TaskId, Vec<LinkId>>,
    filtering: BTreeSet<LinkId>,
}

impl Clients {
    pub fn add(&mut self, link: Handle<LeaderToClient>) {
        self.links.insert(link.id, Client { link, tasks: HashSet::new(), filters: HashMap::new() });
    }

    pub fn remove(&mut self, id: LinkId) {
        let Some(client) = self.links.remove(&id) else { return };
        self.filtering.remove(&id);
        for task_id in client.tasks {
            self.forget(&task_id, id);
        }
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    pub fn send(&self, id: LinkId, message: LeaderToClient) {
        if let Some(client) = self.links.get(&id) {
            client.link.send(message);
        }
    }

    pub fn send_all(&self, message: &LeaderToClient) {
        for client in self.links.values() {
            client.link.send(message.clone());
        }
    }

    /// False: it would be too many.
    pub fn watch(&mut self, id: LinkId, task_ids: &[TaskId]) -> bool {
        let Some(client) = self.links.get_mut(&id) else { return true };
        if client.tasks.len() + task_ids.len() > MAX_WATCHED_TASKS {
            return false;
        }
        for task_id in task_ids {
            if client.tasks.insert(task_id.clone()) {
                self.by_task.entry(task_id.clone()).or_default().push(id);
            }
        }
        true
    }

    /// False: it would be too many.
    pub fn watch_filter(&mut self, id: LinkId, filter_id: u64, filter: TaskFilter) -> bool {
        let Some(client) = self.links.get_mut(&id) else { return true };
        if client.filters.len() >= MAX_FILTERS {
            return false;
        }
        client.filters.insert(filter_id, filter);
        self.filtering.insert(id);
        true
    }

    pub fn unwatch(&mut self, id: LinkId, task_ids: &[TaskId], filter_ids: &[u64]) {
        let Some(client) = self.links.get_mut(&id) else { return };
        for filter_id in filter_ids {
            client.filters.remove(filter_id);
        }
        if client.filters.is_empty() {
            self.filtering.remove(&id);
        }
        let watched: Vec<_> = task_ids.iter().filter(|task_id| client.tasks.remove(*task_id)).collect();
        for task_id in watched {
            self.forget(task_id, id);
        }
    }

    /// Whether anybody is to be told of a change. Who begins to watch after it is shown what it made of the task.
    pub fn concerns(&self, event: &TaskEvent) -> bool {
        self.by_task.contains_key(&event.task.id) || self.filtering.iter().any(|id| self.filters_concern(*id, event))
    }

    /// Tells a change to everybody whom it concerns, once each.
    pub fn push(&self, event: &TaskEvent) {
        let by_task = self.by_task.get(&event.task.id).map_or(&[][..], Vec::as_slice);
        for id in by_task {
            self.send(*id, LeaderToClient::Event(event.clone()));
        }
        for id in self.filtering.iter().filter(|id| !by_task.contains(id)) {
            if self.filters_concern(*id, event) {
                self.send(*id, LeaderToClient::Event(event.clone()));
            }
        }
    }

    fn filters_concern(&self, id: LinkId, TaskEvent { task, previous_state }: &TaskEvent) -> bool {
        let filters = self.links.get(&id).map(|client| client.filters.values());
        filters.into_iter().flatten().any(|filter| filter.concerns(task, *previous_state))
    }

    fn forget(&mut self, task_id: &TaskId, id: LinkId) {
        if let Some(links) = self.by_task.get_mut(task_id) {
            links.retain(|link| *link != id);
            if links.is_empty() {
                self.by_task.remove(task_id);
            }
        }
    }
}
