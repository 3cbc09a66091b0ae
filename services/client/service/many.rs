//! Calls that act on every task that matches a filter. A page is listed, and each of its tasks is asked for as if by itself:
//! nothing is atomic, each has its own outcome, and the leader never does more in one step than for one task.

use std::sync::Arc;

use tonic::Status;

use super::{
    Context, Front,
    page_token::{self, Listing},
    request,
    tasks::{invalid, retry},
};
use crate::{
    domain::{Call, ListQuery, Revision, Task, TaskState, Wall},
    runtime::wall_clock::WallClock,
    wire::{CallError, Detail, InvalidField, proto::v1, task_to_proto},
};

/// What is done with each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Cancel,
    Retry,
    Delete,
}

impl Act {
    /// Tasks in other states it is not for.
    fn states(self) -> &'static [TaskState] {
        match self {
            Self::Cancel => &[TaskState::Pending, TaskState::Assigned, TaskState::Running],
            Self::Retry | Self::Delete => &[TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled],
        }
    }

    /// Of a filter that names none.
    fn default_states(self) -> &'static [TaskState] {
        // Whoever wants work done twice that succeeded has to say so.
        if self == Self::Retry { &[TaskState::Failed] } else { self.states() }
    }

    fn call(self, task: &Task) -> Result<Call, InvalidField> {
        Ok(match self {
            Self::Cancel => Call::Cancel { task_id: task.id.clone() },
            Self::Retry => retry(task.id.clone(), request::retry_id(&task.id)?),
            Self::Delete => Call::Delete { task_id: task.id.clone() },
        })
    }

    /// The listing that it goes through, and its page.
    fn query(
        self,
        filter: Option<v1::TaskFilter>,
        page_size: i32,
        place: &Place,
    ) -> Result<(Listing, ListQuery), InvalidField> {
        let mut filter = request::filter(filter.unwrap_or_default())?;
        if filter.is_empty() {
            return Err(InvalidField::new("filter", "must have one condition at least"));
        }
        if filter.states.iter().any(|state| !self.states().contains(state)) {
            return Err(InvalidField::new("filter.states", format!("only {:?} are possible here", self.states())));
        }
        if filter.states.is_empty() {
            filter.states.extend(self.default_states());
        }
        let page_size = request::page_size(page_size)?;
        let listing = Listing::tasks(&filter);
        let after = page_token::decode(&listing, &place.token)?;
        if self == Self::Retry {
            // A retry that failed at once is not retried by the call that made it.
            filter.created.until = Some(filter.created.until.map_or(place.begun, |until| until.min(place.begun)));
        }
        Ok((listing, ListQuery { filter, page_size, after, after_revision: Revision(0) }))
    }
}

/// Where a call goes on, and when its first page was asked for, by this service's clock.
struct Place {
    begun: Wall,
    token: String,
}

impl Place {
    fn decode(page_token: &str) -> Result<Self, InvalidField> {
        if page_token.is_empty() {
            return Ok(Self { begun: WallClock::system().read(), token: String::new() });
        }
        let parts = page_token.split_once('.');
        let place = parts.and_then(|(begun, token)| Some((u64::from_str_radix(begun, 16).ok()?, token.to_owned())));
        let (begun, token) =
            place.ok_or_else(|| InvalidField::new("page_token", "is not the next_page_token of a response"))?;
        Ok(Self { begun: Wall(begun), token })
    }

    /// As its client gives it back; empty if there is no next page.
    fn encode(&self, next: &str) -> String {
        if next.is_empty() { String::new() } else { format!("{:x}.{next}", self.begun.0) }
    }
}

impl Front {
    /// One page: the outcomes, and the token of the next page.
    pub(super) async fn act(
        &self,
        act: Act,
        filter: Option<v1::TaskFilter>,
        page_size: i32,
        page_token: &str,
        context: Context,
    ) -> Result<(Vec<v1::TaskOutcome>, String), Status> {
        let place = Place::decode(page_token).map_err(invalid)?;
        let (listing, query) = act.query(filter, page_size, &place).map_err(invalid)?;
        let page = self.ask_for_page(query, context).await.map_err(|error| error.status(None))?;
        let calls = page.tasks.iter().map(|task| act.call(task).map_err(CallError::Invalid)).collect();
        let answers = self.ask_for_tasks(calls, context).await;
        let outcomes = page.tasks.iter().zip(answers).map(|(task, answer)| outcome(task, answer)).collect();
        Ok((outcomes, place.encode(&page_token::next(&listing, page.next_after.as_ref()))))
    }
}

fn outcome(task: &Task, answer: Result<Arc<Task>, CallError>) -> v1::TaskOutcome {
    use v1::task_outcome::Outcome;
    let outcome = match answer {
        Ok(after) => Outcome::Task(task_to_proto(&after, Detail::Brief)),
        Err(error) => Outcome::Error(error.item(task.id.as_str())),
    };
    v1::TaskOutcome { task_id: task.id.to_string(), outcome: Some(outcome) }
}
