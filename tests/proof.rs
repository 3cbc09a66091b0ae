//! The proof on real processes: what happened is written down as evidence, and a checker that trusts none of our code
//! judges it.

mod checker;
pub mod cluster;
mod evidence;
mod failover;
mod nemesis;
mod run;
mod workload;
