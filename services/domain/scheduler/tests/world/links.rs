//! The links of the imagined cluster, and the workers at their ends.

use super::*;

impl World {
    /// A new life of a worker: it is a member and says hello. False: it was refused, and the one before lives on.
    pub fn start(&mut self, id: &str, incarnation: u8) -> bool {
        let id = worker(id);
        let process = Process { hand: Hand::new(life(incarnation)), line: None };
        let before = self.processes.insert(id.clone(), process);
        self.be_members();
        self.open(&id);
        if !self.prompt {
            self.retire(&id, before);
            return true;
        }
        let welcome = self.is_welcomed(&id);
        match before {
            Some(before) if !welcome => {
                self.processes.insert(id, before);
                self.be_members();
            }
            before => self.retire(&id, before),
        }
        welcome
    }

    /// The process is gone, and its end of the link with it.
    fn retire(&mut self, id: &WorkerId, process: Option<Process>) {
        if let Some(Process { hand, line: Some(line) }) = process {
            self.ended.push_back((id.clone(), line.id, hand.incarnation));
        }
    }

    pub fn be_members(&mut self) {
        let member = |(id, process): (&WorkerId, &Process)| Member {
            worker_id: id.clone(),
            incarnation: process.hand.incarnation,
        };
        let members = self.processes.iter().map(member).collect();
        self.step(Event::Members(members));
    }

    pub fn is_welcomed(&self, id: &WorkerId) -> bool {
        let line = self.processes.get(id).and_then(|process| process.line.as_ref());
        line.is_some_and(|line| line.welcomed)
    }

    /// The worker opens a link, with what it holds. False: it was refused, or there is no such worker.
    pub fn hello(&mut self, id: &str) -> bool {
        self.open(&worker(id));
        self.is_welcomed(&worker(id))
    }

    fn open(&mut self, id: &WorkerId) {
        self.cut(id.as_str());
        let Some(process) = self.processes.get_mut(id) else { return };
        self.links += 1;
        let offer = WorkerOffer {
            labels: self.labels.get(id).cloned().unwrap_or_default(),
            ..offer(id, process.hand.incarnation)
        };
        let hello = process.hand.hello(offer, self.now.wall);
        let hello = WorkerHello { beside: self.beside.get(id).cloned(), ..hello };
        let up = VecDeque::from([Up::Hello(hello)]);
        process.line = Some(Line { id: self.links, term: self.term, welcomed: false, up, down: VecDeque::new() });
        self.arrive();
    }

    /// The link ends; what is on its way is lost.
    pub fn cut(&mut self, id: &str) {
        let id = worker(id);
        if let Some(process) = self.processes.get_mut(&id)
            && let Some(line) = process.line.take()
        {
            let incarnation = process.hand.incarnation;
            self.ended.push_back((id, line.id, incarnation));
            self.arrive();
        }
    }

    /// The worker's process dies, with everything that it ran.
    pub fn kill(&mut self, id: &str) {
        let process = self.processes.remove(&worker(id));
        self.retire(&worker(id), process);
        self.arrive();
    }

    fn arrive(&mut self) {
        if self.prompt {
            self.settle();
        }
    }

    /// The leader hears that a link has ended.
    pub fn hear_end(&mut self) -> bool {
        let Some((id, link, incarnation)) = self.ended.pop_front() else { return false };
        if self.linked.get(&id) == Some(&link) {
            self.linked.remove(&id);
            self.take(Event::LinkLost { worker: id, incarnation });
        }
        true
    }

    /// The next of what a worker said arrives at the leader.
    pub fn rise(&mut self, id: &WorkerId) -> bool {
        let Some(process) = self.processes.get_mut(id) else { return false };
        let incarnation = process.hand.incarnation;
        let Some(line) = process.line.as_mut() else { return false };
        let (Some(said), number) = (line.up.pop_front(), line.id) else { return false };
        let worker = id.clone();
        match said {
            Up::Hello(hello) => {
                let mut effects = Vec::new();
                self.scheduler.step(self.now, Event::Hello(Box::new(hello)), &mut effects);
                self.follow(effects, Some(number));
            }
            _ if self.linked.get(id) != Some(&number) => {}
            Up::Report(report) => self.take(Event::Report { worker, incarnation, report }),
            Up::Draining => self.take(Event::Draining { worker, incarnation }),
            Up::Goodbye => {
                self.linked.remove(id);
                self.processes.remove(id);
                self.take(Event::Goodbye { worker, incarnation });
            }
        }
        true
    }

    /// Something leaves the leader; lost if this link is no more.
    pub(super) fn tell(&mut self, id: &WorkerId, number: u64, down: Down) {
        let line = self.processes.get_mut(id).and_then(|process| process.line.as_mut());
        if let Some(line) = line.filter(|line| line.id == number) {
            line.down.push_back(down);
        }
    }

    /// The next of what the leader said arrives at a worker.
    pub fn descend(&mut self, id: &WorkerId) -> bool {
        let Some(process) = self.processes.get_mut(id) else { return false };
        let Some(line) = process.line.as_mut() else { return false };
        // One that says goodbye hears nothing any more.
        if matches!(line.up.back(), Some(Up::Goodbye)) {
            return false;
        }
        let Some(told) = line.down.pop_front() else { return false };
        match told {
            Down::Welcome(term) => {
                assert!(term >= process.hand.term && term.0 == line.term);
                process.hand.term = term;
                line.welcomed = true;
                // What it has to say is said on every link; some of it was in the hello already.
                line.up.extend(process.hand.reports.values().cloned().map(Up::Report));
                if process.hand.draining {
                    line.up.push_back(Up::Draining);
                }
            }
            Down::Refuse => process.line = None,
            Down::Order(order) => {
                assert!(line.welcomed, "an order before the welcome");
                match process.hand.obey(order, SLOTS as usize) {
                    Obeyed::Nothing => {}
                    Obeyed::Began(attempt) => *self.runs.entry(attempt).or_default() += 1,
                    Obeyed::Says(report) => line.up.push_back(Up::Report(report)),
                    Obeyed::Full(report) => panic!("{id} has no slot for {report:?}"),
                }
            }
        }
        self.part(id);
        true
    }

    /// A draining worker that holds nothing leaves.
    fn part(&mut self, id: &WorkerId) {
        let Some(process) = self.processes.get_mut(id) else { return };
        if process.hand.draining && process.hand.taken() == 0 {
            match process.line.as_mut() {
                Some(line) if line.welcomed => line.up.push_back(Up::Goodbye),
                _ => {
                    let process = self.processes.remove(id);
                    self.retire(id, process);
                }
            }
        }
    }

    pub fn drain(&mut self, id: &str) {
        let id = worker(id);
        let Some(process) = self.processes.get_mut(&id).filter(|process| !process.hand.draining) else { return };
        process.hand.draining = true;
        if let Some(line) = process.line.as_mut().filter(|line| line.welcomed) {
            line.up.push_back(Up::Draining);
        }
        self.part(&id);
        self.arrive();
    }

    fn say(&mut self, id: &WorkerId, report: Report) {
        let line = self.processes.get_mut(id).and_then(|process| process.line.as_mut());
        if let Some(line) = line.filter(|line| line.welcomed) {
            line.up.push_back(Up::Report(report));
        }
        self.arrive();
    }

    /// An attempt of the worker ends like this.
    pub fn end(&mut self, id: &str, report: Report) {
        let Some(process) = self.processes.get_mut(&worker(id)) else { return };
        let report = process.hand.end(report);
        self.say(&worker(id), report);
    }

    /// The worker begins everything that it was told and has not begun.
    pub fn started(&mut self, id: &str) {
        let Some(process) = self.processes.get(&worker(id)) else { return };
        for attempt in process.hand.running.clone() {
            self.say(&worker(id), Report::Started { attempt, start_time: self.now.wall });
        }
    }

    /// The handler of an attempt says how far it is.
    pub fn progress(&mut self, id: &str, attempt: &AttemptId, fraction: f64) {
        let Some(process) = self.processes.get_mut(&worker(id)) else { return };
        let progress = Arc::new(Progress { update_time: self.now.wall, ..Progress::new(fraction) });
        process.hand.progress.insert(attempt.clone(), progress.clone());
        self.say(&worker(id), Report::Progress { attempt: attempt.clone(), progress: Some(progress) });
    }

    /// A worker says something that its hand would not.
    pub fn claim(&mut self, id: &str, report: Report) {
        self.say(&worker(id), report);
    }

    pub fn succeed(&mut self, id: &str, attempt: &AttemptId) {
        let (attempt, start_time) = (attempt.clone(), self.now.wall);
        self.end(id, Report::Succeeded { attempt, start_time, result: Arc::from(&b"done"[..]) });
    }

    pub fn fail(&mut self, id: &str, attempt: &AttemptId) {
        let failure = Failure::new(FailureReason::Handler, "no");
        let (attempt, start_time) = (attempt.clone(), self.now.wall);
        self.end(id, Report::Failed { attempt, start_time, failure });
    }

    pub fn hand(&self, id: &str) -> &Hand {
        &self.processes[&worker(id)].hand
    }

    /// The present or last attempt of a task.
    pub fn attempt(&self, id: &str) -> AttemptId {
        let task = self.get(id);
        AttemptId { task_id: task.id, attempt: task.attempt, fence: task.fence }
    }
}
