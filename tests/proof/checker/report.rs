//! What the checker found, for people.

use std::fmt;

use comfy_table::{Table, presets::NOTHING};

use super::bite::Bite;

/// Violations of one invariant that are shown; the others are counted.
const SHOWN: usize = 20;

/// One place where an invariant does not hold, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub problem: String,
    pub evidence: Vec<String>,
}

/// One invariant, held against the evidence.
#[derive(Debug, Clone)]
pub struct Finding {
    pub name: &'static str,
    pub says: &'static str,
    /// How many things were looked at, and of what kind.
    pub looked_at: usize,
    pub things: &'static str,
    pub violations: Vec<Violation>,
}

impl Finding {
    pub fn new(name: &'static str, says: &'static str, things: &'static str) -> Self {
        Self { name, says, looked_at: 0, things, violations: Vec::new() }
    }

    pub fn violated(&mut self, problem: impl Into<String>, evidence: Vec<String>) {
        self.violations.push(Violation { problem: problem.into(), evidence });
    }
}

/// Numbers that the published figures are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: usize,
    pub terminals: usize,
    pub leader_writes: usize,
    /// Attempts that went on after another had taken their place, to their end; and whose outcome was recorded.
    pub stale_attempts: usize,
    pub stale_attempts_accepted: usize,
    /// Writes of leaders that had been replaced: refused, and committed.
    pub stale_leader_writes: usize,
    pub stale_leader_writes_accepted: usize,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// What the faults of each round did.
    pub bites: Vec<(String, Bite)>,
    pub counts: Counts,
}

impl Report {
    /// Every invariant holds, and every round with a fault bit.
    pub fn passes(&self) -> bool {
        self.findings.iter().all(|finding| finding.violations.is_empty())
            && self.bites.iter().all(|(_, bite)| !bite.is_nothing())
    }

    /// The finding of an invariant.
    pub fn of(&self, name: &str) -> &Finding {
        self.findings.iter().find(|finding| finding.name == name).unwrap_or_else(|| panic!("there is no {name}"))
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut invariants = table(&["", "invariant", "looked at", "violations"]);
        for finding in &self.findings {
            let looked_at = format!("{} {}", finding.looked_at, finding.things);
            invariants.add_row([finding.name, finding.says, &looked_at, &finding.violations.len().to_string()]);
        }
        writeln!(f, "{invariants}\n")?;

        let mut rounds =
            table(&["round", "stale writes refused", "outcomes unknown", "reassignments", "takeovers", ""]);
        for (name, bite) in &self.bites {
            let numbers = [bite.refused_writes, bite.unknown_outcomes, bite.reassignments, bite.takeovers];
            let [refused, unknown, again, takeovers] = numbers.map(|number| number.to_string());
            let verdict = if bite.is_nothing() { "BIT NOTHING" } else { "" };
            rounds.add_row([name.as_str(), &refused, &unknown, &again, &takeovers, verdict]);
        }
        writeln!(f, "{rounds}\n")?;

        let counts = &self.counts;
        writeln!(f, "tasks acknowledged: {}; ended: {}", counts.acknowledged, counts.terminals)?;
        writeln!(f, "writes of leaders checked: {}", counts.leader_writes)?;
        let (attempts, accepted) = (counts.stale_attempts, counts.stale_attempts_accepted);
        writeln!(f, "stale attempts provoked: {attempts}; accepted: {accepted}")?;
        let (refused, accepted) = (counts.stale_leader_writes, counts.stale_leader_writes_accepted);
        writeln!(f, "stale leaders' writes refused: {refused}; accepted: {accepted}")?;

        for finding in self.findings.iter().filter(|finding| !finding.violations.is_empty()) {
            writeln!(f, "\n{}: {}", finding.name, finding.says)?;
            for violation in finding.violations.iter().take(SHOWN) {
                writeln!(f, "  {}", violation.problem)?;
                for line in &violation.evidence {
                    writeln!(f, "      {line}")?;
                }
            }
            let more = finding.violations.len().saturating_sub(SHOWN);
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        writeln!(f, "\n{}", if self.passes() { "passed" } else { "FAILED" })
    }
}
