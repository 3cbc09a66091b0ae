//! The rules in scenarios, and in sequences of events that nobody thought of.

mod disagreements;
mod disk;
mod drains;
mod ended;
mod explain;
pub(crate) mod hand;
mod invariants;
mod patience;
mod progress;
mod queries;
mod queues;
mod random;
mod scenarios;
mod selectors;
mod world;
