//! What is in the file: the same records as in ZooKeeper, one table for each kind of node. Encoding and decoding stop
//! here.

use std::collections::BTreeSet;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::{
    domain::{Assignment, Change, Loaded, LoadedTask, QueueName, QueueSettings, Status, TaskId, Term, WorkerId},
    store::StoreError,
    wire,
};

/// The layout of these tables. A program that does not know it leaves the file alone.
const FORMAT: u32 = 1;

/// Numbers by name: the format, and the highest term so far.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// By task id.
const TASKS: TableDefinition<&str, &[u8]> = TableDefinition::new("tasks");
/// By task id.
const STATUSES: TableDefinition<&str, &[u8]> = TableDefinition::new("statuses");
/// By worker id and task id.
const ASSIGNMENTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("assignments");
/// Worker ids that ever had an assignment and were not forgotten.
const WORKERS: TableDefinition<&str, ()> = TableDefinition::new("workers");
/// By name. Not there before the first queue was set.
const QUEUES: TableDefinition<&str, &[u8]> = TableDefinition::new("queues");
/// By worker id. Not there before the first worker was drained.
const DRAINS: TableDefinition<&str, &[u8]> = TableDefinition::new("drains");

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Refused {
    /// A change takes for granted what is not so.
    Unfit(String),
    /// The file. Possibly written all the same.
    Failed(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) struct Tables {
    database: Database,
}

impl Tables {
    /// Makes the tables, with the format and term 0 in them.
    pub(super) fn create(database: &Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert("format", u64::from(FORMAT))?;
            numbers.insert("term", 0)?;
            Writing::on(&transaction)?;
        }
        Ok(transaction.commit()?)
    }

    /// Takes tables that were made. `name` is for errors.
    pub(super) fn open(database: Database, name: &str) -> Result<Self, StoreError> {
        let found =
            Self::format(&database).map_err(|error| StoreError::Broken(format!("cannot read {name}: {error}")))?;
        match found {
            Some(found) if found == u64::from(FORMAT) => Ok(Self { database }),
            Some(found) => Err(StoreError::Format { found: found.to_string(), known: FORMAT }),
            None => Err(StoreError::Broken(format!("{name} is a database, but not a store of Herdsman's"))),
        }
    }

    fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
        match database.begin_read()?.open_table(NUMBERS) {
            Ok(numbers) => Ok(numbers.get("format")?.map(|number| number.value())),
            Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts the term up, durably.
    pub(super) fn next_term(&self) -> Result<Term, redb::Error> {
        let transaction = self.database.begin_write()?;
        let term = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let term = numbers.get("term")?.map_or(0, |number| number.value()) + 1;
            numbers.insert("term", term)?;
            term
        };
        transaction.commit()?;
        Ok(Term(term))
    }

    /// Makes all changes durable, or none.
    pub(super) fn write<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Result<(), Refused> {
        let mut changes = changes.into_iter().peekable();
        if changes.peek().is_none() {
            return Ok(());
        }
        let transaction = self.database.begin_write()?;
        let written = Writing::on(&transaction)
            .map_err(Refused::from)
            .and_then(|mut writing| changes.try_for_each(|change| writing.apply(change)));
        match written {
            Ok(()) => Ok(transaction.commit()?),
            Err(refused) => {
                transaction.abort()?;
                Err(refused)
            }
        }
    }

    /// Reads everything. What does not decode is logged and set aside.
    pub(super) fn load(&self) -> Result<Loaded, redb::Error> {
        let transaction = self.database.begin_read()?;
        let mut loaded = Loaded::default();
        let mut set_aside = BTreeSet::new();
        for entry in transaction.open_table(ASSIGNMENTS)?.iter()? {
            let (key, value) = entry?;
            match assignment(key.value(), value.value()) {
                Ok(assignment) => loaded.assignments.push(assignment),
                Err(problem) => put_aside("assignment", key.value().1, &problem, &mut set_aside),
            }
        }
        let statuses = transaction.open_table(STATUSES)?;
        for entry in transaction.open_table(TASKS)?.iter()? {
            let (key, value) = entry?;
            let id = key.value();
            let status = statuses.get(id)?;
            match task(id, value.value(), status.as_ref().map(redb::AccessGuard::value)) {
                Ok(task) if set_aside.contains(&task.submission.task_id) => {}
                Ok(task) => loaded.tasks.push(task),
                Err(problem) => put_aside("task", id, &problem, &mut set_aside),
            }
        }
        for entry in transaction.open_table(WORKERS)?.iter()? {
            match entry?.0.value().parse() {
                Ok(worker) => loaded.workers.push(worker),
                Err(problem) => tracing::warn!(%problem, "a worker's name cannot be read; ignored"),
            }
        }
        loaded.corrupt = set_aside.into_iter().collect();
        match transaction.open_table(QUEUES) {
            Ok(queues) => {
                for entry in queues.iter()? {
                    let (key, value) = entry?;
                    loaded.queues.extend(queue(key.value(), value.value()));
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match transaction.open_table(DRAINS) {
            Ok(drains) => {
                for entry in drains.iter()? {
                    let (key, value) = entry?;
                    loaded.drained.extend(drained(key.value(), value.value()));
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(loaded)
    }
}

/// A queue of which nobody can say what holds is paused: nothing starts that was not to, and who resumes it writes it anew.
fn queue(name: &str, data: &[u8]) -> Option<(QueueName, QueueSettings)> {
    let queue = name.parse::<QueueName>().map_err(|problem| problem.to_string());
    match queue.map(|queue| (wire::decode_queue(&queue, data), queue)) {
        Ok((Ok(settings), queue)) => Some((queue, settings)),
        Ok((Err(problem), queue)) => {
            tracing::warn!(%queue, %problem, "what holds for a queue cannot be read; it is paused until it is resumed");
            Some((queue, QueueSettings { paused: true, ..QueueSettings::default() }))
        }
        Err(problem) => {
            tracing::warn!(queue = name, problem, "the name of a queue cannot be read; ignored");
            None
        }
    }
}

/// That there is a record says that the worker is drained, unless the record says otherwise.
fn drained(id: &str, data: &[u8]) -> Option<WorkerId> {
    let worker = id.parse::<WorkerId>().map_err(|problem| problem.to_string());
    match worker.map(|worker| (wire::decode_drain(&worker, data), worker)) {
        Ok((Ok(drained), worker)) => drained.then_some(worker),
        Ok((Err(problem), worker)) => {
            tracing::warn!(%worker, %problem, "whether a worker is drained cannot be read; it is until it is undrained");
            Some(worker)
        }
        Err(problem) => {
            tracing::warn!(worker = id, problem, "the id of a drained worker cannot be read; ignored");
            None
        }
    }
}

fn assignment((worker, task_id): (&str, &str), data: &[u8]) -> Result<Assignment, String> {
    let worker = worker.parse::<WorkerId>().map_err(|problem| format!("worker: {problem}"))?;
    let task_id = task_id.parse::<TaskId>().map_err(|problem| format!("task: {problem}"))?;
    wire::decode_assignment(&worker, &task_id, data).map_err(|problem| problem.to_string())
}

fn task(id: &str, submission: &[u8], status: Option<&[u8]>) -> Result<LoadedTask, String> {
    let task_id = id.parse::<TaskId>().map_err(|problem| problem.to_string())?;
    let submission = wire::decode_submission(&task_id, submission).map_err(|problem| problem.to_string())?;
    let status = status.map(wire::decode_status).transpose().map_err(|problem| format!("status: {problem}"))?;
    Ok(LoadedTask { submission, status })
}

/// Keeps the id occupied, whatever is wrong with its records: nothing may be decided about a task that is half known.
fn put_aside(record: &str, id: &str, problem: &str, set_aside: &mut BTreeSet<TaskId>) {
    tracing::warn!(record, task_id = id, problem, "a stored record cannot be read; set aside");
    // A name that is no id cannot be submitted either.
    set_aside.extend(id.parse::<TaskId>());
}

/// The tables within one write. Strict like ZooKeeper's nodes: what is made must not be there, what goes must be.
struct Writing<'t> {
    transaction: &'t WriteTransaction,
    tasks: redb::Table<'t, &'static str, &'static [u8]>,
    statuses: redb::Table<'t, &'static str, &'static [u8]>,
    assignments: redb::Table<'t, (&'static str, &'static str), &'static [u8]>,
    workers: redb::Table<'t, &'static str, ()>,
}

impl<'t> Writing<'t> {
    fn on(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            transaction,
            tasks: transaction.open_table(TASKS)?,
            statuses: transaction.open_table(STATUSES)?,
            assignments: transaction.open_table(ASSIGNMENTS)?,
            workers: transaction.open_table(WORKERS)?,
        })
    }

    fn apply(&mut self, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Submitted(submission) => {
                let id = &submission.task_id;
                let data = wire::encode_submission(submission);
                fits(self.tasks.insert(id.as_str(), data.as_slice())?.is_none(), || format!("task {id} exists"))
            }
            Change::Assigned(assignment) => self.assign(assignment),
            Change::GivenBack { task_id, worker, status } => {
                self.unassign(worker, task_id)?;
                self.set_status(task_id, status)
            }
            Change::Finished { task_id, assigned_to, status } => {
                if let Some(worker) = assigned_to {
                    self.unassign(worker, task_id)?;
                }
                self.set_status(task_id, status)
            }
            Change::Removed { task_id } => {
                self.statuses.remove(task_id.as_str())?;
                fits(self.tasks.remove(task_id.as_str())?.is_some(), || format!("there is no task {task_id}"))
            }
            Change::Swept { task_id, worker } => self.unassign(worker, task_id),
            Change::WorkerForgotten { worker } => self.forget(worker),
            Change::QueueSet { queue, settings } => self.set_queue(queue, settings),
            Change::DrainSet { worker, drained } => self.set_drain(worker, *drained),
        }
    }

    /// Rare, so that no other write opens the table.
    fn set_queue(&mut self, queue: &QueueName, settings: &QueueSettings) -> Result<(), Refused> {
        let mut queues = self.transaction.open_table(QUEUES)?;
        if *settings == QueueSettings::default() {
            queues.remove(queue.as_str())?;
        } else {
            queues.insert(queue.as_str(), wire::encode_queue(queue, settings).as_slice())?;
        }
        Ok(())
    }

    /// As rare.
    fn set_drain(&mut self, worker: &WorkerId, drained: bool) -> Result<(), Refused> {
        let mut drains = self.transaction.open_table(DRAINS)?;
        if drained {
            drains.insert(worker.as_str(), wire::encode_drain(worker, true).as_slice())?;
        } else {
            drains.remove(worker.as_str())?;
        }
        Ok(())
    }

    /// What is set aside is left alone by the leader: if an assignment of it stays, the worker's place stays with it.
    fn forget(&mut self, worker: &WorkerId) -> Result<(), Refused> {
        let next = self.assignments.range((worker.as_str(), "")..)?.next().transpose()?;
        if next.is_none_or(|(key, _)| key.value().0 != worker.as_str()) {
            self.workers.remove(worker.as_str())?;
        }
        Ok(())
    }

    fn assign(&mut self, assignment: &Assignment) -> Result<(), Refused> {
        let Assignment { worker, task_id, .. } = assignment;
        self.workers.insert(worker.as_str(), ())?;
        let data = wire::encode_assignment(assignment);
        let earlier = self.assignments.insert((worker.as_str(), task_id.as_str()), data.as_slice())?;
        fits(earlier.is_none(), || format!("task {task_id} is assigned to {worker} already"))
    }

    fn unassign(&mut self, worker: &WorkerId, task_id: &TaskId) -> Result<(), Refused> {
        let removed = self.assignments.remove((worker.as_str(), task_id.as_str()))?;
        fits(removed.is_some(), || format!("task {task_id} is not assigned to {worker}"))
    }

    fn set_status(&mut self, task_id: &TaskId, status: &Status) -> Result<(), Refused> {
        self.statuses.insert(task_id.as_str(), wire::encode_status(status).as_slice())?;
        fits(self.tasks.get(task_id.as_str())?.is_some(), || format!("there is no task {task_id}"))
    }
}

fn fits(it_does: bool, problem: impl FnOnce() -> String) -> Result<(), Refused> {
    if it_does { Ok(()) } else { Err(Refused::Unfit(problem())) }
}

#[cfg(test)]
pub(super) fn set_format(path: &std::path::Path, format: u64) {
    let database = Database::open(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    transaction.open_table(NUMBERS).expect("opens").insert("format", format).expect("inserts");
    transaction.commit().expect("commits");
}

#[cfg(test)]
impl Tables {
    /// Leaves records that nobody can read.
    pub(super) fn damage(&self) {
        let transaction = self.database.begin_write().expect("begins");
        {
            let mut writing = Writing::on(&transaction).expect("opens");
            let garbage = b"\xff\xff\xff".as_slice();
            writing.tasks.insert("bad-task", garbage).expect("inserts");
            writing.tasks.insert("../not an id", garbage).expect("inserts");
            writing.statuses.insert("bad-status", garbage).expect("inserts");
            writing.assignments.insert(("worker-1", "bad-assignment"), garbage).expect("inserts");
            writing.workers.insert("worker-1", ()).expect("inserts");
            let mut queues = transaction.open_table(QUEUES).expect("opens");
            queues.insert("bad-queue", garbage).expect("inserts");
            queues.insert("../not a queue", garbage).expect("inserts");
            let mut drains = transaction.open_table(DRAINS).expect("opens");
            drains.insert("bad-drain", garbage).expect("inserts");
            drains.insert("../not a worker", garbage).expect("inserts");
        }
        transaction.commit().expect("commits");
    }
}
