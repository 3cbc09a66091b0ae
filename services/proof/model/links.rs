//! What arrives on the links.

use super::{
    history::Sight,
    master::{Asker, moment},
    names::{NOW, SLOTS, worker},
    worker::{Down, Up},
    world::World,
};
use crate::domain::{
    Revision,
    scheduler::{Event, tests::hand::Obeyed},
};

impl World {
    pub(super) fn rise(&mut self, number: usize) {
        let (up, link, master) = self.workers[number].edit(|worker| {
            let line = worker.line.as_mut().expect("it has a link");
            (line.up.pop_front().expect("it has said something"), line.number, line.master)
        });
        let incarnation = self.workers[number].hand.incarnation;
        let members = self.members();
        self.lead(master, |leading| match up {
            Up::Hello(hello) => {
                leading.step(
                    moment(number),
                    Event::Hello(Box::new(hello)),
                    &Asker::Worker { worker: number, link, incarnation },
                );
                leading.step(NOW, members, &Asker::Nobody);
            }
            Up::Report(report) if leading.links[number] == Some((link, incarnation)) => {
                leading.step(NOW, Event::Report { worker: worker(number), incarnation, report }, &Asker::Nobody);
            }
            Up::Report(_) => {}
        });
    }

    pub(super) fn descend(&mut self, number: usize) {
        let (obeyed, term) = self.workers[number].edit(|worker| {
            let line = worker.line.as_mut().expect("it has a link");
            let term = line.term;
            match line.down.pop_front().expect("it was told something") {
                Down::Welcome if term >= worker.hand.term => worker.welcome(),
                Down::Welcome => worker.line = None,
                Down::Refuse => {
                    worker.line = None;
                    worker.refused = true;
                }
                Down::Order(order) => {
                    let obeyed = worker.hand.obey(order, SLOTS as usize);
                    if let (Obeyed::Says(report) | Obeyed::Full(report), Some(line)) = (&obeyed, &mut worker.line) {
                        line.say(report.clone());
                    }
                    return (obeyed, term);
                }
            }
            (Obeyed::Nothing, term)
        });
        match obeyed {
            Obeyed::Began(attempt) => {
                if Revision(attempt.fence.0).term() < term {
                    self.see(Sight::SentAgain);
                }
                self.history.edit(|history| history.began(&attempt));
            }
            Obeyed::Nothing if !self.workers[number].hand.cancelled.is_empty() => self.see(Sight::CancelOfARun),
            _ => {}
        }
    }

    pub(super) fn hear_end(&mut self, master: usize, number: usize) {
        self.lead(master, |leading| {
            if let Some((_, incarnation)) = leading.links[number].take() {
                let lost = Event::LinkLost { worker: worker(number), incarnation };
                leading.step(moment(number), lost, &Asker::Nobody);
            }
        });
    }
}
