//! A leader of a few tasks, a link that keeps its order and can be cut, and readers of any speed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    super::{
        mailbox::{End, Mailbox, Next, Update},
        registry::{Registry, StreamId, Target},
        slot::Slot,
    },
    id, task,
};
use crate::{
    client::leader_link::HubRequest,
    domain::{Answer, Call, ListQuery, Page, Revision, Task, TaskEvent, TaskFilter, TaskId, TaskState, Term},
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Pages of the model: small, so that a listing takes several.
const PAGE: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    Change(usize),
    /// The hub's requests reach the leader.
    Ask,
    /// So many messages reach the hub.
    Deliver(usize),
    Read(usize),
    /// What is on the link is lost; the same leader, or the next one.
    Cut {
        failover: bool,
    },
}

#[derive(Default)]
struct Leader {
    term: u64,
    revision: Revision,
    tasks: BTreeMap<TaskId, Arc<Task>>,
    /// Every revision that a task has had.
    log: BTreeMap<TaskId, Vec<Revision>>,
    watched: HashSet<TaskId>,
    filters: BTreeMap<u64, TaskFilter>,
    link: VecDeque<Message>,
}

enum Message {
    Event(TaskEvent),
    Answer(u64, Answer),
}

impl Leader {
    fn with_all_tasks() -> Self {
        let mut leader = Self { term: 1, revision: Revision::start_of(Term(1)), ..Self::default() };
        for name in NAMES {
            leader.change(name);
        }
        leader.link.clear();
        leader
    }

    fn change(&mut self, name: &str) {
        let previous = self.tasks.get(&id(name)).map(|task| task.state);
        let next = match previous {
            Some(TaskState::Pending) => TaskState::Assigned,
            Some(TaskState::Assigned) => TaskState::Running,
            // Some attempts are lost, some succeed.
            Some(TaskState::Running) if self.revision.0.is_multiple_of(3) => TaskState::Succeeded,
            None | Some(TaskState::Running) => TaskState::Pending,
            Some(_) => return,
        };
        self.revision = self.revision.next();
        let task = task(name, self.revision.0, next);
        self.log.entry(task.id.clone()).or_default().push(self.revision);
        let previous_state = previous.unwrap_or(next);
        let concerned = |filter: &TaskFilter| filter.concerns(&task, previous_state);
        if self.watched.contains(&task.id) || self.filters.values().any(concerned) {
            self.link.push_back(Message::Event(TaskEvent { task: task.clone(), previous_state }));
        }
        self.tasks.insert(task.id.clone(), task);
    }

    fn take(&mut self, request: HubRequest) {
        let (token, call) = match request {
            HubRequest::Unwatch { task_ids, filter_ids } => {
                self.watched.retain(|id| !task_ids.contains(id));
                self.filters.retain(|id, _| !filter_ids.contains(id));
                return;
            }
            HubRequest::Ask { token, call } => (token, call),
        };
        let page = match call {
            Call::Watch { task_ids } => {
                self.watched.extend(task_ids.iter().cloned());
                let tasks = task_ids.iter().map(|id| self.tasks[id].clone()).collect();
                Page { tasks, ..Page::default() }
            }
            Call::WatchFilter { filter_id, filter } => {
                self.filters.insert(filter_id, *filter);
                Page::default()
            }
            Call::List(query) => self.page(&query),
            other => panic!("not asked by a hub: {other:?}"),
        };
        self.link.push_back(Message::Answer(token, Answer::Page(page)));
    }

    fn page(&self, query: &ListQuery) -> Page {
        let mut page = Page::default();
        let rest = self.tasks.iter().filter(|(id, _)| query.after.as_ref().is_none_or(|after| *id > after));
        for (looked, (id, task)) in rest.enumerate() {
            if looked == PAGE {
                break;
            }
            page.next_after = Some(id.clone()).filter(|_| *id != *self.tasks.keys().next_back().unwrap());
            if task.revision > query.after_revision && query.filter.matches(task) {
                page.tasks.push(task.clone());
            }
        }
        page
    }

    fn cut(&mut self, failover: bool) {
        self.link.clear();
        self.watched.clear();
        self.filters.clear();
        if failover {
            self.term += 1;
            self.revision = Revision::start_of(Term(self.term));
        }
    }
}

/// A client that watches, and watches again when it is told to.
struct Reader {
    target: Target,
    slot: Arc<Slot>,
    stream: StreamId,
    resume: Revision,
    /// Of this stream.
    told: BTreeMap<TaskId, Revision>,
    /// Of all its streams.
    known: BTreeMap<TaskId, Arc<Task>>,
    complete: bool,
}

impl Reader {
    fn join(registry: &mut Registry, target: Target, resume: Revision) -> Self {
        let mailbox = match &target {
            Target::Ids(ids) => Mailbox::of_ids(ids, resume),
            Target::Filter(_) => Mailbox::of_filter(resume),
        };
        let slot = Arc::new(Slot::new(mailbox));
        let stream = registry.join(target.clone(), resume, &slot);
        let (told, known) = (BTreeMap::new(), BTreeMap::new());
        Self { target, slot, stream, resume, told, known, complete: false }
    }

    fn read(&mut self, registry: &mut Registry, leader: &Leader, was_cut: bool) -> Result<bool, TestCaseError> {
        let (next, wants_step) = self.slot.next();
        if wants_step {
            registry.step(self.stream);
        }
        match next {
            Next::Nothing => return Ok(false),
            Next::Update(update) => self.check(update, leader, was_cut)?,
            Next::End(End::Complete) => {
                prop_assert!(self.known.values().all(|task| task.state.is_terminal()));
                let was_complete = std::mem::replace(&mut self.complete, true);
                registry.leave(self.stream);
                return Ok(!was_complete);
            }
            Next::End(End::Resume) => {
                registry.leave(self.stream);
                let mut known = std::mem::take(&mut self.known);
                if self.resume == Revision(0) {
                    // It has no place to go on from: it begins anew.
                    known.clear();
                }
                *self = Self { known, ..Self::join(registry, self.target.clone(), self.resume) };
            }
            Next::End(End::Failed { error, .. }) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(true)
    }

    fn check(&mut self, update: Update, leader: &Leader, was_cut: bool) -> Result<(), TestCaseError> {
        let Update { task, skipped, resume } = update;
        let before = self.told.insert(task.id.clone(), task.revision);
        if let Some(before) = before {
            prop_assert!(task.revision > before, "{}: {:?} after {before:?}", task.id, task.revision);
            let missed = leader.log[&task.id].iter().filter(|&&past| past > before && past < task.revision).count();
            let skipped = usize::try_from(skipped).unwrap();
            // What passed while the link was cut, or did not concern the filter, nobody could count.
            let exact = !was_cut && !matches!(&self.target, Target::Filter(filter) if !filter.states.is_empty());
            prop_assert!(skipped == missed || (!exact && skipped < missed), "{}: {skipped}, not {missed}", task.id);
        } else if matches!(self.target, Target::Ids(_)) {
            prop_assert_eq!(skipped, 0);
        }
        prop_assert!(!self.known.get(&task.id).is_some_and(|known| known.state.is_terminal()) || before.is_none());
        self.known.insert(task.id.clone(), task);
        prop_assert!(resume >= self.resume);
        self.resume = resume;
        // Who resumes from here is told again of everything that it does not know.
        for task in leader.tasks.values().filter(|task| task.revision <= resume && self.wants(task)) {
            let known = self.known.get(&task.id).map(|known| known.revision);
            prop_assert_eq!(known, Some(task.revision), "{} is not told again after {:?}", task.id, resume);
        }
        Ok(())
    }

    fn wants(&self, task: &Task) -> bool {
        match &self.target {
            Target::Ids(ids) => ids.contains(&task.id),
            Target::Filter(filter) => filter.matches(task),
        }
    }
}

fn targets() -> [Target; 4] {
    let all: BTreeSet<_> = NAMES.iter().map(|name| id(name)).collect();
    let pending = TaskFilter { states: [TaskState::Pending].into(), ..TaskFilter::default() };
    [Target::Ids([id("a")].into()), Target::Ids(all), Target::Filter(TaskFilter::default()), Target::Filter(pending)]
}

fn ask(registry: &mut Registry, leader: &mut Leader) {
    while let Some((_, request)) = registry.requests() {
        leader.take(request);
    }
}

fn deliver(registry: &mut Registry, leader: &mut Leader) -> bool {
    match leader.link.pop_front() {
        Some(Message::Event(event)) => registry.event(event),
        Some(Message::Answer(token, answer)) => registry.answer(token, answer),
        None => return false,
    }
    true
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let (mut leader, mut registry, mut link, mut was_cut) = (Leader::with_all_tasks(), Registry::default(), 1, false);
    registry.up(link);
    let mut readers = targets().map(|target| Reader::join(&mut registry, target, Revision(0)));
    for step in steps {
        match step {
            Step::Change(at) => leader.change(NAMES[*at]),
            Step::Ask => ask(&mut registry, &mut leader),
            Step::Deliver(many) => {
                for _ in 0..*many {
                    deliver(&mut registry, &mut leader);
                }
            }
            Step::Read(at) => _ = readers[*at].read(&mut registry, &leader, was_cut)?,
            Step::Cut { failover } => {
                was_cut = true;
                registry.down();
                leader.cut(*failover);
                link += 1;
                registry.up(link);
            }
        }
    }
    // In the end, everybody reads everything.
    let mut goes_on = true;
    while goes_on {
        ask(&mut registry, &mut leader);
        goes_on = deliver(&mut registry, &mut leader);
        for reader in &mut readers {
            goes_on |= reader.read(&mut registry, &leader, was_cut)?;
        }
    }
    for reader in &readers {
        for task in leader.tasks.values().filter(|task| reader.wants(task)) {
            prop_assert_eq!(reader.known.get(&task.id), Some(task), "{:?}", reader.target);
        }
        // Nobody believes a task in a filter that it has left.
        for known in reader.known.values() {
            prop_assert!(!reader.wants(known) || leader.tasks[&known.id].revision == known.revision);
        }
        registry.leave(reader.stream);
    }
    ask(&mut registry, &mut leader);
    prop_assert_eq!((registry.watched_tasks(), registry.backlog()), (0, 0));
    prop_assert!(leader.watched.is_empty() && leader.filters.is_empty());
    Ok(())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NAMES.len()).prop_map(Step::Change),
        3 => Just(Step::Ask),
        4 => (1..4_usize).prop_map(Step::Deliver),
        4 => (0..4_usize).prop_map(Step::Read),
        1 => any::<bool>().prop_map(|failover| Step::Cut { failover }),
    ]
}

fn calm_step() -> impl Strategy<Value = Step> {
    step().prop_filter("no cut", |step| !matches!(step, Step::Cut { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_reader_ends_with_the_present_states(steps in proptest::collection::vec(step(), 0..120)) {
        play(&steps)?;
    }

    #[test]
    fn while_the_link_lasts_every_skipped_change_is_counted(steps in proptest::collection::vec(calm_step(), 0..120)) {
        play(&steps)?;
    }
}
