//! Random lives of many tasks, against a model that is nothing but maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use herdsman::{
    domain::{
        Assignment, Change, Condition, Failure, FailureReason, Fence, Incarnation, Loaded, LoadedTask, MAX_TIME,
        Multiplier, Outcome, Policy, Priority, Requirement, RetryPolicy, Revision, Selector, Status, Submission,
        TaskId, TaskSpec, Trials, Wall, WorkerId,
    },
    store::Store,
};

use super::{
    assert_same, lead, next_term,
    samples::{id, worker},
};

const SEEDS: std::ops::Range<u64> = 1..4;
const TERMS: usize = 5;
const COMMITS_A_TERM: usize = 12;
const MOST_CHANGES: u64 = 12;
const TASK_IDS: u64 = 40;
const WORKERS: u64 = 5;

/// SplitMix64: small, and the same on every machine, so that a seed in a failure tells everything.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }

    fn text(&mut self, most: u64) -> String {
        (0..self.below(most + 1))
            .map(|_| ['a', 'ß', '界', '🐑', '\n'][usize::try_from(self.below(5)).expect("few")])
            .collect()
    }
}

#[derive(Default)]
struct Model {
    tasks: BTreeMap<TaskId, (Submission, Option<Status>)>,
    assigned: BTreeMap<TaskId, Assignment>,
    workers: BTreeSet<WorkerId>,
    revision: u64,
}

impl Model {
    fn expected(&self) -> Loaded {
        let task = |(submission, status): &(Submission, Option<Status>)| LoadedTask {
            submission: submission.clone(),
            status: status.clone(),
        };
        Loaded {
            tasks: self.tasks.values().map(task).collect(),
            assignments: self.assigned.values().cloned().collect(),
            corrupt: Vec::new(),
            workers: self.workers.iter().cloned().collect(),
            queues: Vec::new(),
            drained: Vec::new(),
        }
    }

    /// An assignment that was left behind may be found, to be swept, or be gone by itself.
    fn find(&mut self, found: &[Assignment]) {
        let tasks = &self.tasks;
        let ended = |id: &TaskId| tasks[id].1.as_ref().is_some_and(|status: &Status| status.outcome.is_some());
        self.assigned.retain(|id, assignment| !ended(id) || found.contains(assignment));
    }

    fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }

    /// Some change that is possible now; it has happened in the model.
    fn change(&mut self, dice: &mut Dice) -> Change {
        let task_id = id(&format!("task-{}", dice.below(TASK_IDS)));
        let ended = self.tasks.get(&task_id).map(|(_, status)| status.as_ref().is_some_and(|s| s.outcome.is_some()));
        match (ended, self.assigned.get(&task_id).cloned()) {
            (None, _) => self.submit(task_id, dice),
            (Some(false), None) if dice.one_in(8) => self.finish(task_id, None, dice),
            (Some(false), None) => self.assign(task_id, dice),
            (Some(false), Some(_)) if dice.one_in(6) => self.forget(dice),
            (Some(false), Some(assignment)) if dice.one_in(3) => self.give_back(assignment, dice),
            (Some(false), Some(assignment)) => self.finish(task_id, Some(assignment), dice),
            (Some(true), Some(assignment)) => {
                self.assigned.remove(&task_id);
                Change::Swept { task_id, worker: assignment.worker }
            }
            (Some(true), None) => {
                self.tasks.remove(&task_id);
                Change::Removed { task_id }
            }
        }
    }

    fn submit(&mut self, task_id: TaskId, dice: &mut Dice) -> Change {
        let spec = TaskSpec {
            kind: "echo".parse().expect("a kind"),
            queue: dice.one_in(2).then(|| "other".parse().expect("a queue")),
            payload: dice.bytes(300).into(),
            labels: (0..dice.below(4))
                .map(|at| (format!("key-{at}"), dice.text(20)))
                .collect::<BTreeMap<_, _>>()
                .into(),
            priority: Priority::new(u8::try_from(dice.below(20)).expect("small")),
            at_most_once: dice.one_in(2),
            policy: dice.one_in(2).then(|| Box::new(policy(dice))),
            selector: dice.one_in(2).then(|| Arc::new(selector(dice))),
        };
        let submission = Submission {
            task_id: task_id.clone(),
            spec: Arc::new(spec),
            create_time: Wall(dice.below(1 << 41)),
            revision: self.next_revision(),
            traceparent: dice.one_in(2).then(|| "00-trace".into()),
            retry_of: dice.one_in(2).then(|| id("another")),
        };
        self.tasks.insert(task_id, (submission.clone(), None));
        Change::Submitted(submission)
    }

    fn assign(&mut self, task_id: TaskId, dice: &mut Dice) -> Change {
        let used = self.tasks[&task_id].1.as_ref().map_or(0, |status| status.attempt);
        let assignment = Assignment {
            task_id: task_id.clone(),
            worker: worker(&format!("worker-{}", dice.below(WORKERS))),
            attempt: used + 1,
            incarnation: Incarnation([u8::try_from(dice.below(256)).expect("a byte"); 16]),
            fence: Fence::from(self.next_revision()),
        };
        self.workers.insert(assignment.worker.clone());
        self.assigned.insert(task_id, assignment.clone());
        Change::Assigned(assignment)
    }

    fn give_back(&mut self, assignment: Assignment, dice: &mut Dice) -> Change {
        let status = self.status(Some(&assignment), None, dice);
        let Assignment { task_id, worker, .. } = assignment;
        self.assigned.remove(&task_id);
        self.set(&task_id, &status);
        Change::GivenBack { task_id, worker, status }
    }

    fn finish(&mut self, task_id: TaskId, assignment: Option<Assignment>, dice: &mut Dice) -> Change {
        let outcome = match dice.below(3) {
            0 => Outcome::Succeeded(dice.bytes(300).into()),
            1 => Outcome::Cancelled,
            _ => Outcome::Failed(failure(dice)),
        };
        let status = self.status(assignment.as_ref(), Some(outcome), dice);
        self.set(&task_id, &status);
        // Now and then the assignment is left behind, to be swept.
        let assigned_to = assignment.map(|assignment| assignment.worker).filter(|_| !dice.one_in(4));
        if assigned_to.is_some() {
            self.assigned.remove(&task_id);
        }
        Change::Finished { task_id, assigned_to, status }
    }

    fn forget(&mut self, dice: &mut Dice) -> Change {
        let first = dice.below(WORKERS);
        let busy: BTreeSet<_> = self.assigned.values().map(|assignment| &assignment.worker).collect();
        let names = (0..=WORKERS).map(|at| worker(&format!("worker-{}", (first + at) % (WORKERS + 1))));
        // The last name never gets an assignment.
        let worker = names.into_iter().find(|name| !busy.contains(name)).expect("one is always idle");
        self.workers.remove(&worker);
        Change::WorkerForgotten { worker }
    }

    fn status(&mut self, last: Option<&Assignment>, outcome: Option<Outcome>, dice: &mut Dice) -> Status {
        Status {
            attempt: last.map_or(0, |last| last.attempt),
            revision: self.next_revision(),
            worker_deaths: u32::try_from(dice.below(4)).expect("few"),
            worker: last.map(|last| last.worker.clone()),
            fence: last.map_or(Fence(0), |last| last.fence),
            start_time: dice.one_in(2).then(|| Wall(dice.below(1 << 41))),
            end_time: outcome.as_ref().map(|_| Wall(dice.below(1 << 41))),
            outcome,
            trials: dice.one_in(2).then(|| Arc::new(trials(dice))),
        }
    }

    fn set(&mut self, task_id: &TaskId, status: &Status) {
        self.tasks.get_mut(task_id).expect("the task is there").1 = Some(status.clone());
    }
}

fn failure(dice: &mut Dice) -> Failure {
    Failure {
        exit_status: dice.one_in(2).then_some(3),
        permanent: dice.one_in(2),
        ..Failure::new(FailureReason::Handler, dice.text(40))
    }
}

fn trials(dice: &mut Dice) -> Trials {
    Trials {
        retries: 1 + u32::try_from(dice.below(9)).expect("few"),
        last_failure: dice.one_in(2).then(|| failure(dice)),
        next_attempt_time: dice.one_in(2).then(|| Wall(dice.below(1 << 41))),
    }
}

fn selector(dice: &mut Dice) -> Selector {
    let condition = match dice.below(4) {
        0 => Condition::Exists,
        1 => Condition::DoesNotExist,
        2 => Condition::In([dice.text(20).into()].into()),
        _ => Condition::NotIn([dice.text(20).into(), "a".into()].into()),
    };
    Selector::new(vec![Requirement { key: "key".into(), condition }]).expect("there is a requirement")
}

fn policy(dice: &mut Dice) -> Policy {
    let retry = RetryPolicy {
        max_attempts: 1,
        initial_backoff: dice.one_in(2).then(|| Duration::from_millis(1 + dice.below(1 << 20))),
        backoff_multiplier: dice.one_in(2).then(|| Multiplier::of_thousandths(1_500).expect("a factor")),
        max_backoff: dice.one_in(2).then_some(MAX_TIME),
        final_exit_statuses: dice.one_in(2).then(|| [3].into()),
    };
    Policy { retry: Some(retry), delay: dice.one_in(2).then_some(Duration::from_secs(1)), ..Policy::default() }
}

pub async fn any_life_of_many_tasks_is_loaded_as_it_was(store: Arc<dyn Store>) {
    let mut model = Model::default();
    let (mut leadership, _) = lead(&store).await;
    for seed in SEEDS {
        let mut dice = Dice(seed);
        for term in 0..TERMS {
            let mut commits = Vec::new();
            for _ in 0..COMMITS_A_TERM {
                let changes = (0..dice.below(MOST_CHANGES + 1)).map(|_| model.change(&mut dice)).collect();
                commits.push(leadership.commit(changes));
            }
            for (at, commit) in commits.into_iter().enumerate() {
                commit.await.unwrap_or_else(|doubt| panic!("commit {at} of term {term}, seed {seed}: {doubt}"));
            }
            let (next, loaded) = next_term(&store, leadership).await;
            model.find(&loaded.assignments);
            assert_same(&loaded, &model.expected(), &format!("after term {term} of seed {seed}"));
            leadership = next;
        }
    }
}
