//! How a submit of many tasks is going: a bar on a terminal, lines in a pipe, a summary at the end.

use std::{cell::RefCell, io::IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use super::ending;
use crate::{
    cli::{
        exit::{Failure, complain, note},
        follow::has_ended,
        output::Output,
        watch::show_line,
    },
    wire::proto::v1::{SubmitTaskError, Task, TaskState},
};

#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    refused: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

pub(super) struct Progress<'a> {
    output: &'a Output,
    watch: bool,
    bar: ProgressBar,
    counts: RefCell<Counts>,
}

impl<'a> Progress<'a> {
    /// `total` is how many tasks will come, if that is known.
    pub(super) fn new(output: &'a Output, total: Option<u64>, watch: bool) -> Self {
        // Ids that scroll by on the same terminal say enough.
        let scrolls = output.terminal && (!watch || output.is_json());
        let bar = if std::io::stderr().is_terminal() && !scrolls {
            let template = "{bar:32} {pos}/{len} {msg} ({elapsed})";
            let style = ProgressStyle::with_template(template).expect("the template is valid");
            ProgressBar::new(total.unwrap_or(0)).with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Self { output, watch, bar, counts: RefCell::default() }
    }

    /// Takes note of the outcomes of one call, and gives the ids that were accepted.
    pub(super) fn submitted(&self, outcomes: Vec<Result<Task, SubmitTaskError>>) -> Result<Vec<String>, Failure> {
        let mut accepted = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome {
                Ok(task) => {
                    self.counts.borrow_mut().accepted += 1;
                    if !self.watch {
                        self.bar.suspend(|| {
                            if self.output.is_json() {
                                self.output.json(&task)
                            } else {
                                self.output.line(&task.task_id)
                            }
                        })?;
                    }
                    accepted.push(task.task_id);
                }
                Err(error) => {
                    self.counts.borrow_mut().refused += 1;
                    let field = if error.field.is_empty() { String::new() } else { format!("{}: ", error.field) };
                    let field = if error.message.starts_with(&field) { String::new() } else { field };
                    self.bar.suspend(|| complain(format!("task {}: {field}{}", error.task_id, error.message)));
                }
            }
        }
        self.advance();
        Ok(accepted)
    }

    /// Takes note of one event of a watched task.
    pub(super) fn seen(&self, task: &Task) -> Result<(), Failure> {
        {
            let mut counts = self.counts.borrow_mut();
            match task.state() {
                TaskState::Succeeded => counts.succeeded += 1,
                TaskState::Failed => counts.failed += 1,
                TaskState::Cancelled => counts.cancelled += 1,
                _ => {}
            }
        }
        self.advance();
        if self.output.is_json() || !self.output.terminal {
            return self.bar.suspend(|| show_line(self.output, task));
        }
        if has_ended(task) && task.state() != TaskState::Succeeded {
            self.bar.suspend(|| complain(ending(task)));
        }
        Ok(())
    }

    fn advance(&self) {
        let counts = self.counts.borrow();
        let known = counts.accepted + counts.refused;
        self.bar.set_length(self.bar.length().unwrap_or(0).max(known));
        if self.watch {
            self.bar.set_position(counts.refused + counts.succeeded + counts.failed + counts.cancelled);
        } else {
            self.bar.set_position(known);
        }
        if counts.failed + counts.cancelled + counts.refused > 0 {
            self.bar.set_message(format!("{} not succeeded", counts.failed + counts.cancelled + counts.refused));
        }
    }

    /// Says how it went; true only if everything did as asked.
    pub(super) fn finish(self, done: Result<(), Failure>) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let counts = self.counts.borrow();
        if matches!(done, Err(Failure::PipeClosed)) {
            return done;
        }
        let parts = [
            (counts.accepted, "submitted", true),
            (counts.refused, "refused", false),
            (counts.succeeded, "succeeded", self.watch),
            (counts.failed, "failed", false),
            (counts.cancelled, "cancelled", false),
        ];
        let said: Vec<_> = parts
            .iter()
            .filter(|(count, _, always)| *always || *count > 0)
            .map(|(count, what, _)| format!("{count} {what}"))
            .collect();
        note(said.join(", "));
        done?;
        if counts.refused + counts.failed + counts.cancelled == 0 { Ok(()) } else { Err(Failure::Untrue) }
    }
}
