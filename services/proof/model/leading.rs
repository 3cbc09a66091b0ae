//! What a leader takes, decides and lets out; and its end.

use super::{
    call::Call,
    history::{self, Sight},
    master::{Asker, Leading, Master, Out, Said},
    names::{NOW, WORKERS, life, spec, task, worker},
    worker::{Down, Line},
    world::World,
};
use crate::domain::{Member, Monotonic, scheduler::Event};

impl World {
    pub(super) fn ask(&mut self, master: usize, call: Call) {
        let durable = history::durable(&self.tree, call.task());
        self.lead(master, |leading| match call {
            Call::Submit { task: number, payload } => {
                let (task_id, spec) = (task(number), spec(payload));
                let submit = Event::Submit { task_id, spec, traceparent: None, deadline: Monotonic(u64::MAX) };
                leading.step(NOW, submit, &Asker::Client(call));
            }
            Call::Cancel { task: number } => {
                leading.step(NOW, Event::Cancel { task_id: task(number) }, &Asker::Client(call));
            }
            Call::Get { task: number } => leading.ask(number, durable),
        });
    }

    pub(super) fn members(&self) -> Event {
        let member =
            |number: usize| Member { worker_id: worker(number), incarnation: life(self.workers[number].lives) };
        Event::Members((0..WORKERS).map(member).collect())
    }

    /// The leader is none any more, as far as it knows; what it has written is on its way, and so is what it has said.
    pub(super) fn fall(&mut self, master: usize) {
        self.masters[master].edit(|at| *at = Master::Idle);
        for number in 0..WORKERS {
            if self.workers[number].line.as_ref().is_some_and(|line| line.master == master && !line.ended) {
                self.workers[number].edit(|worker| {
                    if let Some(line) = &mut worker.line {
                        line.ended = true;
                        line.up.clear();
                    }
                });
            }
        }
    }

    pub(super) fn tick(&mut self, master: usize) {
        self.lead(master, |leading| {
            let mut now = NOW;
            now.monotonic = leading.scheduler.next_tick().expect("something is due");
            leading.step(now, Event::Tick, &Asker::Nobody);
        });
    }

    /// Lets a leader do something, and lets out and issues what follows.
    pub(super) fn lead(&mut self, master: usize, act: impl FnOnce(&mut Leading)) {
        let stale = self.masters[master].edit(|at| match at {
            Master::Leading(leading) => {
                act(leading);
                std::mem::take(&mut leading.stale_reports)
            }
            _ => false,
        });
        if stale {
            self.see(Sight::StaleReport);
        }
        self.flush(master);
    }

    pub(super) fn flush(&mut self, master: usize) {
        let issued = self.masters[master].edit(|at| match at {
            Master::Leading(leading) => Some((leading.candidacy.session, leading.issue())),
            _ => None,
        });
        let Some((session, (outs, writes))) = issued else { return };
        if !writes.is_empty() {
            self.writers.edit(|writers| {
                writers.get_mut(&session).expect("a leader has announced itself").writes.extend(writes);
            });
        }
        self.let_out(outs);
    }

    pub(super) fn let_out(&mut self, outs: Vec<Out>) {
        for out in outs {
            let (number, link, down) = match out {
                Out::Welcome { worker, link } => (worker, link, Down::Welcome),
                Out::Refuse { worker, link } => {
                    self.see(Sight::SecondIncarnationRefused);
                    (worker, link, Down::Refuse)
                }
                Out::Order { worker, link, order } => (worker, link, Down::Order(order)),
                Out::Answer(said) => {
                    if let Said::State { .. } = said {
                        self.see(Sight::AnswerToAQuestion);
                    }
                    let tree = &self.tree;
                    self.history.edit(|history| history.said(&said, tree));
                    continue;
                }
            };
            let is_there = |line: &Line| line.number == link && !line.ended;
            if self.workers[number].line.as_ref().is_some_and(is_there) {
                if let Down::Order(order) = &down {
                    let tree = &self.tree;
                    self.history.edit(|history| history.told(number, order, tree));
                }
                self.workers[number].edit(|worker| {
                    if let Some(line) = &mut worker.line {
                        line.down.push_back(down);
                    }
                });
            }
        }
    }
}
