use std::collections::BTreeSet;

use stateright::{Checker, Expectation, HasDiscoveries};

use super::*;

/// As many as the machine of a build has.
const THREADS: usize = 2;
/// Fewest different states that all scenes together go through.
const STATES: usize = 1_000_000;

/// Steps that are tried in the scenes that are not gone through wholly: enough states, in a minute or two on two cores.
const COLD: usize = 2_000_000;
const WIDE: usize = 2_200_000;
/// Enough to be ten steps deep everywhere: a deposition, a takeover, a call of each leader.
const TOLD: usize = 400_000;

/// What is asked in the scene with everything in it: two tasks, one of them twice and once as another one, a cancel, a
/// question.
fn all_calls() -> Vec<(Call, u8)> {
    vec![
        (Call::Submit { task: 0, payload: 1 }, 2),
        (Call::Submit { task: 1, payload: 1 }, 1),
        (Call::Submit { task: 0, payload: 2 }, 1),
        (Call::Cancel { task: 0 }, 1),
        (Call::Get { task: 0 }, 1),
    ]
}

fn one_submit() -> Vec<(Call, u8)> {
    vec![(Call::Submit { task: 0, payload: 1 }, 1)]
}

/// Goes through a scene, wholly or until so many steps were tried. Nothing that must never happen happens. Returns how
/// many different states there were, and adds what was seen.
fn check(cluster: Cluster, most: Option<usize>, seen: &mut BTreeSet<&'static str>) -> usize {
    let names: Vec<_> =
        cluster.properties().into_iter().map(|property| (property.name, property.expectation)).collect();
    let mut builder = cluster.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = most {
        builder = builder.target_state_count(most);
    }
    let checker = builder.spawn_bfs().join();
    let discoveries = checker.discoveries();
    for (name, expectation) in names {
        match (discoveries.get(name), expectation) {
            (Some(path), Expectation::Always | Expectation::Eventually) => {
                let actions: Vec<_> = path.clone().into_actions().iter().map(|action| format!("{action:?}")).collect();
                panic!("{name}: broken after {} steps:\n{}", actions.len(), actions.join("\n"));
            }
            (Some(_), Expectation::Sometimes) => drop(seen.insert(name)),
            (None, _) => {}
        }
    }
    println!("{} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    checker.unique_state_count()
}

#[test]
fn the_rules_hold_in_a_million_states_and_everything_of_interest_is_among_them() {
    let mut seen = BTreeSet::new();
    let scenes = [
        // Wholly: one task from its submit to every end that one fault can lead it to.
        (Cluster { calls: one_submit(), faults: 1, led: true, stray: false }, None),
        // The same from the first candidacy on, with what somebody left behind.
        (Cluster { calls: one_submit(), faults: 1, led: false, stray: true }, Some(COLD)),
        // Everything at once, as far as it goes.
        (Cluster { calls: all_calls(), faults: 1, led: true, stray: false }, Some(WIDE)),
    ];
    let everything = scenes[0].0.properties();
    let states: usize = scenes.into_iter().map(|(cluster, most)| check(cluster, most, &mut seen)).sum();
    assert!(states >= STATES, "only {states} states");
    for property in everything {
        let is_seen = property.expectation != Expectation::Sometimes || seen.contains(property.name);
        assert!(is_seen, "never: {}", property.name);
    }
}

/// A small scene for what readers and cancels are told, which the others come to late.
#[test]
fn what_a_client_is_told_is_true_while_leaders_change() {
    let calls =
        vec![(Call::Submit { task: 0, payload: 1 }, 1), (Call::Cancel { task: 0 }, 1), (Call::Get { task: 0 }, 1)];
    let mut seen = BTreeSet::new();
    check(Cluster { calls, faults: 1, led: true, stray: false }, Some(TOLD), &mut seen);
    for sight in ["a question is answered", "two masters hold themselves for the leader"] {
        assert!(seen.contains(sight), "never: {sight}");
    }
}
