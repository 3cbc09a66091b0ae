//! The distributions, for people and for programs.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;

pub struct Figures {
    runs: usize,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    what: &'static str,
    /// In order.
    waits: Vec<Duration>,
}

impl Row {
    /// The least wait that this part of the runs did not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.waits.len() * percent).div_ceil(100).max(1);
        self.waits[rank - 1]
    }
}

impl Figures {
    pub fn new(runs: usize) -> Self {
        Self { runs, rows: Vec::new() }
    }

    pub fn add(&mut self, name: &'static str, what: &'static str, mut waits: Vec<Duration>) {
        waits.sort();
        self.rows.push(Row { name, what, waits });
    }

    /// Prints a table, and writes every single wait to the file that `HERDSMAN_FAILOVER_JSON` names.
    pub fn publish(&self) {
        let mut table =
            format!("seconds, {} runs each\n| measure | p50 | p90 | p99 | most |\n|---|---|---|---|---|\n", self.runs);
        for row in &self.rows {
            let [p50, p90, p99, most] = [50, 90, 99, 100].map(|percent| row.percentile(percent).as_secs_f64());
            let _ = writeln!(table, "| {} | {p50:.3} | {p90:.3} | {p99:.3} | {most:.3} |", row.what);
        }
        println!("{table}");
        if let Some(file) = std::env::var_os("HERDSMAN_FAILOVER_JSON") {
            let rows = self.rows.iter().map(|row| {
                let waits: Vec<_> = row.waits.iter().map(Duration::as_secs_f64).collect();
                json!({"measure": row.name, "what": row.what, "seconds": waits})
            });
            let text = rows.collect::<serde_json::Value>().to_string();
            std::fs::write(file, text).expect("the file can be written");
        }
    }
}

#[test]
fn a_percentile_is_a_wait_that_was_measured() {
    let waits = (1..=50).map(Duration::from_millis).collect();
    let row = Row { name: "", what: "", waits };
    assert_eq!([50, 90, 99, 100].map(|percent| row.percentile(percent).as_millis()), [25, 45, 50, 50]);
}
