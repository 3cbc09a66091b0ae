//! Real programs under real guards, and a whole worker against a leader that the test plays over gRPC.

mod exec;
mod link;
mod progress;
