//! How the driver takes what the links bring: each input becomes a step of the scheduler, or a look at it.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Span;

use super::{
    driver::{Asker, Driver},
    input::{Handle, Input, LinkId},
};
use crate::{
    domain::{Answer, Call, ClusterView, Page, Refusal, TaskId, TaskState, WorkerHello, WorkerId, scheduler::Event},
    runtime::telemetry,
    wire::{LeaderToClient, LeaderToWorker, LinkRefusal, detail_of},
};

impl Driver {
    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::WorkerHello { hello, link } => self.worker_hello(hello, link),
            Input::Report { link, worker, incarnation, report } if self.is_linked(&worker, link) => {
                self.step(Event::Report { worker, incarnation, report }, &Asker::Nobody);
            }
            Input::Draining { link, worker, incarnation } if self.is_linked(&worker, link) => {
                self.step(Event::Draining { worker, incarnation }, &Asker::Nobody);
            }
            Input::WorkerGone { link, worker, incarnation, goodbye } if self.is_linked(&worker, link) => {
                self.unlink(&worker);
                let event = if goodbye {
                    Event::Goodbye { worker, incarnation }
                } else {
                    Event::LinkLost { worker, incarnation }
                };
                self.step(event, &Asker::Nobody);
            }
            Input::Report { .. } | Input::Draining { .. } | Input::WorkerGone { .. } => {}
            Input::ClientHello { link } => {
                link.send(LeaderToClient::Welcome(self.scheduler.term()));
                self.clients.add(link);
            }
            Input::Call { link, call_id, call, arrival } => self.call(link, call_id, call, arrival),
            Input::Malformed { link, call_id, error } => {
                let answer = Answer::Refused(Refusal::Invalid(error.to_string().into()));
                self.clients
                    .send(link, LeaderToClient::Reply { call_id, answer, detail: crate::wire::Detail::Summary });
            }
            Input::Unwatch { link, task_ids, filter_ids } => self.clients.unwatch(link, &task_ids, &filter_ids),
            Input::ClientGone { link } => {
                self.clients.remove(link);
                self.drains.forget(link);
            }
        }
        self.metrics.links(self.clients.len());
    }

    fn worker_hello(&mut self, hello: Box<WorkerHello>, link: Handle<LeaderToWorker>) {
        if hello.term > self.scheduler.term() {
            // Somebody has followed this leader, who will learn it at the next commit.
            link.refuse(LinkRefusal::NotLeader);
            return;
        }
        self.step(Event::Hello(hello), &Asker::Worker(link));
    }

    fn call(&mut self, link: LinkId, call_id: u64, call: Call, arrival: Instant) {
        let mut asker = Asker::Client { link, call_id, detail: detail_of(&call), span: None };
        match call {
            Call::Submit { task_id, spec, traceparent, time_left } => {
                let deadline = self.clock.monotonic(arrival + time_left);
                let traceparent = self.trace(&task_id, traceparent, &mut asker);
                self.step(Event::Submit { task_id, spec, traceparent, deadline }, &asker);
            }
            Call::Retry { of, task_id, traceparent, time_left } => {
                let deadline = self.clock.monotonic(arrival + time_left);
                let traceparent = self.trace(&task_id, traceparent, &mut asker);
                self.step(Event::Retry { of, task_id, traceparent, deadline }, &asker);
            }
            Call::Cancel { task_id } => self.step(Event::Cancel { task_id }, &asker),
            Call::Delete { task_id } => self.step(Event::Delete { task_id }, &asker),
            Call::Get { task_id } => {
                let answer = self.scheduler.get(&task_id);
                self.reply(&asker, answer);
            }
            Call::List(query) => {
                let answer = Answer::Page(self.scheduler.list(&query));
                self.reply(&asker, answer);
            }
            Call::Watch { task_ids } => {
                let answer = self.watch(link, &task_ids);
                self.reply(&asker, answer);
            }
            Call::WatchFilter { filter_id, filter } => {
                let fits = self.clients.watch_filter(link, filter_id, *filter);
                let page = Answer::Page(Page::default());
                self.reply(&asker, if fits { page } else { Answer::Refused(Refusal::TooManyWatches) });
            }
            Call::Cluster => {
                let answer = Answer::Cluster(Box::new(self.cluster()));
                self.reply(&asker, answer);
            }
            Call::Locate { task_id } => {
                let answer = self.scheduler.locate(&task_id);
                self.reply(&asker, answer);
            }
            Call::Explain { task_id } => {
                let answer = self.scheduler.explain(self.clock.now(), &task_id);
                self.reply(&asker, answer);
            }
            Call::Workers(query) => {
                let answer = Answer::Workers(self.scheduler.workers(&query));
                self.reply(&asker, answer);
            }
            Call::Queues(query) => {
                let answer = Answer::Queues(self.scheduler.queues(self.clock.now(), &query));
                self.reply(&asker, answer);
            }
            Call::Queue { queue } => {
                let answer = Answer::Queue(Box::new(self.scheduler.queue(self.clock.now(), &queue)));
                self.reply(&asker, answer);
            }
            Call::UpdateQueue { queue, update } => self.step(Event::UpdateQueue { queue, update }, &asker),
            Call::SetDrained { worker_id: worker, drained } => {
                self.step(Event::SetDrained { worker, drained }, &asker);
            }
            Call::AwaitDrain { worker_id, known_busy } => self.await_drain(worker_id, known_busy, asker),
        }
    }

    fn await_drain(&mut self, worker: WorkerId, known_busy: Option<u32>, asker: Asker) {
        if !self.scheduler.knows(&worker) {
            return self.reply(&asker, Answer::Refused(Refusal::WorkerNotFound));
        }
        let drain = self.scheduler.drain(&worker);
        if drain.is_over() || known_busy != Some(drain.worker.busy_slots) {
            return self.tell_drain(&worker, &asker);
        }
        if let Err(asker) = self.drains.park(worker, asker, Instant::now()) {
            self.reply(&asker, Answer::Refused(Refusal::TooManyWatches));
        }
    }

    pub(super) fn tell_drain(&mut self, worker: &WorkerId, asker: &Asker) {
        let answer = Answer::Drain(Box::new(self.scheduler.drain(worker)));
        self.reply(asker, answer);
    }

    fn watch(&mut self, link: LinkId, task_ids: &[TaskId]) -> Answer {
        let page = self.scheduler.present(task_ids);
        let known: Vec<_> = page.tasks.iter().map(|task| task.id.clone()).collect();
        if self.clients.watch(link, &known) { Answer::Page(page) } else { Answer::Refused(Refusal::TooManyWatches) }
    }

    fn cluster(&self) -> ClusterView {
        let totals = self.scheduler.totals();
        ClusterView {
            address: self.about.address.clone(),
            term: self.scheduler.term(),
            start_time: self.about.lead_time,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            workers: totals.workers,
            slots: totals.slots,
            busy_slots: totals.busy_slots,
            standbys: self.about.standbys.count(),
            corrupt_records: totals.corrupt_records,
            tasks: TaskState::ALL.map(|state| self.scheduler.count(state)),
        }
    }

    /// Traces the leader's part of a submit, if its caller traces, and returns what the attempts are to go on from.
    fn trace(&self, task_id: &TaskId, parent: Option<Arc<str>>, asker: &mut Asker) -> Option<Arc<str>> {
        let parent = parent?;
        let span = self.span(task_id, &parent);
        let own = telemetry::traceparent(&span);
        if let Asker::Client { span: place, .. } = asker {
            *place = Some(span);
        }
        Some(own.unwrap_or(parent))
    }

    /// The leader's part of a submit, from the call to the reply.
    fn span(&self, task_id: &TaskId, parent: &Arc<str>) -> Span {
        let span = tracing::info_span!("lead_submit", %task_id, term = self.scheduler.term().0);
        telemetry::set_parent(&span, parent);
        span
    }
}
