//! I11: is there an order of all operations on a task, in agreement with real time, in which each was answered rightly?
//!
//! The search is Wing's and Gong's with Lowe's memory of what was tried. It is our own, because an operation whose outcome
//! is unknown may take effect at any later time or never, of which there are many, and because a task also changes by
//! itself: between any two operations it may be given a newer revision, or end. (stateright's tester tries all orders
//! without a memory, and knows neither.)

use std::collections::HashSet;

use super::{
    case::{Case, Operation},
    report::Finding,
};
use crate::proof::evidence::{Call, Moment, Outcome, Spec, State, Told};

/// States that are tried for one task: far more than a right history needs. One that needs more is not taken for right.
const TRIED: usize = 50_000;
/// Operations that are shown of a wrong history.
const SHOWN: usize = 40;

/// The history of the submits, gets and cancels of each task is linearizable, refusals included.
pub fn histories_are_linearizable(case: &Case) -> Finding {
    let mut finding = Finding::new("I11", "submits, gets and cancels of each task are linearizable", "operations");
    for (id, task) in &case.tasks {
        finding.looked_at += task.operations.len();
        let problem = match judge(&task.operations) {
            Verdict::Linearizable => continue,
            Verdict::Not => format!("{id}: no order of its operations explains all answers"),
            Verdict::Undecided => format!("{id}: not decided within {TRIED} steps"),
        };
        finding.violated(problem, task.operations.iter().take(SHOWN).map(ToString::to_string).collect());
    }
    finding
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Not,
    Undecided,
}

/// The task at one point of an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Known<'a> {
    Absent,
    Present {
        spec: &'a Spec,
        /// The highest that was told, and the state that was told with it, if one was.
        revision: u64,
        state: Option<State>,
        end: End,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    NotYet,
    /// It succeeded or failed.
    ByItself,
    As(State),
}

/// Which operations are in the order so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn none_of(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn with(&self, at: usize) -> Self {
        let mut done = self.clone();
        done.0[at / 64] |= 1 << (at % 64);
        done
    }
}

pub fn judge(operations: &[Operation]) -> Verdict {
    let mut operations: Vec<_> = operations.iter().filter(|operation| says_anything(operation)).collect();
    // The first to be answered is tried first, which is nearly always right; what is unknown comes last.
    operations.sort_by_key(|operation| (deadline(operation), operation.asked));
    let mut tried = HashSet::new();
    let mut to_try = vec![(Done::none_of(operations.len()), Known::Absent)];
    while let Some((done, known)) = to_try.pop() {
        let waiting = || operations.iter().enumerate().filter(|(at, _)| !done.has(*at));
        let Some(limit) = waiting().map(|(_, operation)| deadline(operation)).min() else {
            return Verdict::Linearizable;
        };
        if limit == NEVER {
            return Verdict::Linearizable;
        }
        if tried.len() >= TRIED {
            return Verdict::Undecided;
        }
        if !tried.insert((done.clone(), known.clone())) {
            continue;
        }
        let mut next: Vec<(Done, Known)> = Vec::new();
        for (at, operation) in waiting().filter(|(_, operation)| operation.asked <= limit) {
            let Some(after) = known.after(operation) else { continue };
            // What is unknown and would change nothing may be left for later, and of those that do the same, one is tried.
            let is_unknown = deadline(operation) == NEVER;
            if !is_unknown || (after != known && next.iter().all(|(_, tried)| *tried != after)) {
                next.push((done.with(at), after));
            }
        }
        to_try.extend(next.into_iter().rev());
    }
    Verdict::Not
}

const NEVER: Moment = Moment(u64::MAX);

/// A read that was not answered, and a refusal that depends on the moment, explain themselves.
fn says_anything(operation: &Operation) -> bool {
    match (&operation.call, &operation.outcome) {
        (Call::Get { .. }, Outcome::Unknown { .. }) => false,
        (_, Outcome::Refused { reason, .. }) => {
            ["TASK_NOT_FOUND", "TASK_EXISTS", "TASK_ENDED", "CORRUPT_RECORD"].contains(&reason.as_str())
        }
        _ => true,
    }
}

/// By when it took effect, if it did.
fn deadline(operation: &Operation) -> Moment {
    match operation.outcome {
        Outcome::Unknown { .. } => NEVER,
        Outcome::Ok { .. } | Outcome::Refused { .. } => operation.answered.unwrap_or(NEVER),
    }
}

impl<'a> Known<'a> {
    /// What is so after the operation; None: it cannot have been answered like this here.
    fn after(&self, operation: &'a Operation) -> Option<Self> {
        match (&operation.call, &operation.outcome) {
            (Call::Submit { spec, .. }, Outcome::Ok { told }) => {
                Some(self.submitted(spec)).filter(|after| after.is(spec))?.told(told)
            }
            (Call::Submit { spec, .. }, Outcome::Unknown { .. }) => Some(self.submitted(spec)),
            (Call::Submit { spec, .. }, Outcome::Refused { reason, .. }) => {
                (reason == "TASK_EXISTS" && *self != Self::Absent && !self.is(spec)).then(|| self.clone())
            }
            (Call::Get { .. }, Outcome::Ok { told }) => self.clone().told(told).filter(|after| after.is(&told.spec)),
            (Call::Cancel { .. }, Outcome::Ok { told }) => {
                let cancelled = self.cancelled()?;
                (told.state == State::Cancelled).then_some(())?;
                cancelled.told(told)
            }
            (Call::Cancel { .. }, Outcome::Unknown { .. }) => Some(self.cancelled().unwrap_or_else(|| self.clone())),
            (_, Outcome::Refused { reason, .. }) if reason == "TASK_NOT_FOUND" => {
                (*self == Self::Absent).then(|| self.clone())
            }
            (Call::Cancel { .. }, Outcome::Refused { reason, .. }) if reason == "TASK_ENDED" => self.ended_by_itself(),
            (_, Outcome::Refused { .. }) | (Call::Get { .. }, Outcome::Unknown { .. }) => None,
        }
    }

    fn is(&self, wanted: &Spec) -> bool {
        matches!(self, Self::Present { spec, .. } if *spec == wanted)
    }

    fn submitted(&self, spec: &'a Spec) -> Self {
        match self {
            Self::Absent => Self::Present { spec, revision: 0, state: None, end: End::NotYet },
            Self::Present { .. } => self.clone(),
        }
    }

    /// None: it is not there, or ended otherwise.
    fn cancelled(&self) -> Option<Self> {
        match self {
            Self::Present { spec, revision, end: End::NotYet, .. } => {
                Some(Self::Present { spec, revision: *revision, state: None, end: End::As(State::Cancelled) })
            }
            Self::Present { end: End::As(State::Cancelled), .. } => Some(self.clone()),
            Self::Present { .. } | Self::Absent => None,
        }
    }

    fn ended_by_itself(&self) -> Option<Self> {
        match self {
            Self::Present { spec, revision, end: End::NotYet, .. } => {
                Some(Self::Present { spec, revision: *revision, state: None, end: End::ByItself })
            }
            Self::Present { end: End::ByItself | End::As(State::Succeeded | State::Failed), .. } => Some(self.clone()),
            Self::Present { .. } | Self::Absent => None,
        }
    }

    /// Somebody was told of it as it is here.
    fn told(self, told: &Told) -> Option<Self> {
        let Self::Present { spec, revision, state, end } = self else { return None };
        let end = match end {
            End::NotYet if told.state.is_terminal() => End::As(told.state),
            End::NotYet => end,
            End::ByItself if matches!(told.state, State::Succeeded | State::Failed) => End::As(told.state),
            End::As(known) if known == told.state => end,
            End::ByItself | End::As(_) => return None,
        };
        let same = told.revision != revision || state.is_none_or(|known| known == told.state);
        (told.revision >= revision && same).then_some(Self::Present {
            spec,
            revision: told.revision,
            state: Some(told.state),
            end,
        })
    }
}
