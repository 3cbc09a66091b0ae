//! What the tests share: ZooKeeper servers and Herdsman processes that end with their test.

pub mod process;
pub mod zookeeper;
