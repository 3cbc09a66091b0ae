//! The rules in scenarios, and in sequences of events that nobody thought of.

mod invariants;
mod queries;
mod random;
mod scenarios;
mod world;
