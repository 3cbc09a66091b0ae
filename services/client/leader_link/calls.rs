//! The calls that the leader has not answered. Knows nothing of links: what is here when a link ends is asked again on
//! the next one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{
    domain::{Answer, Call, Revision, Submission, Task, Wall},
    wire::ClientToLeader,
};

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Asker {
    /// Gone when the sender is closed. The permit is the place among the outstanding calls of all that entered with it.
    Caller { reply: oneshot::Sender<Answer>, _places: Arc<OwnedSemaphorePermit> },
    /// The watch hub, by its own token. Asks anew on each link by itself.
    Hub(u64),
}

impl Asker {
    fn waits(&self) -> bool {
        match self {
            Self::Caller { reply, .. } => !reply.is_closed(),
            Self::Hub(_) => true,
        }
    }
}

#[derive(Debug)]
struct Open {
    call: Call,
    /// After it, the asker does not wait any more.
    deadline: Option<Instant>,
    asker: Asker,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    last_id: u64,
    open: BTreeMap<u64, Open>,
}

impl Calls {
    /// Enters a call; what to send for it, unless nobody waits for it any more.
    pub(super) fn enter(
        &mut self,
        call: Call,
        deadline: Option<Instant>,
        asker: Asker,
        now: Instant,
    ) -> Option<ClientToLeader> {
        if !asker.waits() {
            return None;
        }
        self.last_id += 1;
        self.open.insert(self.last_id, Open { call, deadline, asker });
        self.message(self.last_id, now)
    }

    /// What to send for a call: None if it is answered, or its time is over. A submit's time left counts down.
    pub(super) fn message(&self, call_id: u64, now: Instant) -> Option<ClientToLeader> {
        let open = self.open.get(&call_id)?;
        let left = open.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(now));
        let mut call = open.call.clone();
        if let Call::Submit { time_left, .. } | Call::Retry { time_left, .. } = &mut call {
            *time_left = left;
        }
        (!left.is_zero()).then_some(ClientToLeader::Call { call_id, call })
    }

    /// Takes out the call that an answer is for. None: nobody waits for it any more.
    pub(super) fn answered(&mut self, call_id: u64) -> Option<Asker> {
        self.open.remove(&call_id).map(|open| open.asker)
    }

    /// The same for a submit of a new task, which is as the call says. None, too: it was no submit.
    pub(super) fn accepted(&mut self, call_id: u64, revision: Revision, create_time: Wall) -> Option<(Asker, Answer)> {
        let Open { call, asker, .. } = self.open.remove(&call_id)?;
        let Call::Submit { task_id, spec, traceparent, .. } = call else { return None };
        let submission = Submission { task_id, spec, create_time, revision, traceparent, retry_of: None };
        Some((asker, Answer::Task(Arc::new(Task::new(&submission)))))
    }

    /// What a new link has to ask again, oldest first.
    pub(super) fn for_a_new_link(&mut self) -> Vec<u64> {
        self.open.retain(|_, open| matches!(open.asker, Asker::Caller { .. }) && open.asker.waits());
        self.open.keys().copied().collect()
    }

    /// Frees the calls that nobody waits for.
    pub(super) fn sweep(&mut self) {
        self.open.retain(|_, open| open.asker.waits());
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::TaskSpec;

    fn caller(places: &Arc<Semaphore>) -> (Asker, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let places = places.clone().try_acquire_owned().unwrap();
        (Asker::Caller { reply, _places: Arc::new(places) }, answer)
    }

    fn submit() -> Call {
        Call::Submit {
            task_id: "t".parse().unwrap(),
            spec: Arc::new(TaskSpec::new("echo".parse().unwrap(), b"")),
            traceparent: None,
            time_left: Duration::ZERO,
        }
    }

    #[test]
    fn a_submit_asked_again_has_less_time_left() {
        let (mut calls, places, now) = (Calls::default(), Arc::new(Semaphore::new(1)), Instant::now());
        let (asker, _answer) = caller(&places);
        let deadline = now + Duration::from_secs(30);
        let first = calls.enter(submit(), Some(deadline), asker, now);
        let again = calls.message(1, now + Duration::from_secs(10));
        let left = |message| match message {
            Some(ClientToLeader::Call { call: Call::Submit { time_left, .. }, .. }) => time_left.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((left(first), left(again)), (30, 20));
        assert_eq!(calls.message(1, deadline), None);
    }

    #[test]
    fn a_task_that_was_accepted_is_as_its_submit_said() {
        let (mut calls, places, now) = (Calls::default(), Arc::new(Semaphore::new(2)), Instant::now());
        let (asker, _answer) = caller(&places);
        calls.enter(submit(), None, asker, now);
        let (asker, _answer) = caller(&places);
        calls.enter(Call::Cluster, None, asker, now);
        let Some((_, Answer::Task(task))) = calls.accepted(1, Revision(7), Wall(9)) else { panic!("it is a submit") };
        assert_eq!((task.id.as_str(), task.spec.kind.as_str(), task.revision), ("t", "echo", Revision(7)));
        assert_eq!((task.create_time, task.is_new()), (Wall(9), true));
        assert!(calls.accepted(1, Revision(7), Wall(9)).is_none() && calls.accepted(2, Revision(7), Wall(9)).is_none());
    }

    #[test]
    fn a_call_whose_caller_is_gone_frees_its_place() {
        let (mut calls, places, now) = (Calls::default(), Arc::new(Semaphore::new(1)), Instant::now());
        let (asker, answer) = caller(&places);
        calls.enter(Call::Cluster, None, asker, now);
        drop(answer);
        assert_eq!(places.available_permits(), 0);
        calls.sweep();
        assert_eq!(places.available_permits(), 1);
    }

    #[test]
    fn a_new_link_asks_again_for_callers_and_not_for_the_hub() {
        let (mut calls, places, now) = (Calls::default(), Arc::new(Semaphore::new(2)), Instant::now());
        let (gone, _) = caller(&places);
        let (waits, _answer) = caller(&places);
        calls.enter(Call::Cluster, None, Asker::Hub(7), now);
        assert_eq!(calls.enter(Call::Cluster, None, gone, now), None);
        calls.enter(Call::Workers(crate::domain::WorkerQuery::default()), None, waits, now);
        assert_eq!(calls.for_a_new_link().len(), 1);
    }
}
