//! Which workers may run a task, by their labels: Kubernetes' set-based label selectors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Most requirements of one selector: as many as a worker has labels, so that each of them can be asked for.
pub const MAX_REQUIREMENTS: usize = super::MAX_LABELS;
/// Most values of one requirement: a list of zones or of models; what is longer wants a label that groups it.
pub const MAX_REQUIREMENT_VALUES: usize = 64;
/// Most bytes of all texts of a selector: 64 names of the longest, twice. It lies beside its task in the store.
pub const MAX_SELECTOR_BYTES: usize = 8 * 1024;

/// Requirements that all hold of a worker's labels; one at least. The same requirements are the same selector, in
/// whatever order they were said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Box<[Requirement]>);

/// What must hold of one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    pub key: Box<str>,
    pub condition: Condition,
}

/// No list of values is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// The label has one of these values.
    In(BTreeSet<Box<str>>),
    /// The label has none of these values, or is not there.
    NotIn(BTreeSet<Box<str>>),
    /// The label is there, whatever its value.
    Exists,
    DoesNotExist,
}

impl Condition {
    /// Whether it holds of a label with this value; None: there is no such label.
    pub fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::In(values) | Self::NotIn(values) => Some(values),
            Self::Exists | Self::DoesNotExist => None,
        };
        values.into_iter().flatten().map(|value| &**value)
    }
}

impl Requirement {
    /// Whether it holds of a worker with these labels.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        self.condition.holds(labels.get(&*self.key).map(String::as_str))
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.condition.values().map(str::len).sum::<usize>()
    }
}

/// Whether a worker could have labels of which all this holds.
pub fn is_satisfiable(requirements: &[Requirement]) -> bool {
    requirements.iter().all(|requirement| {
        let of_key = || requirements.iter().filter(|other| other.key == requirement.key).map(|other| &other.condition);
        let holds = |value: Option<&str>| of_key().all(|condition| condition.holds(value));
        let listed = || of_key().filter(|condition| matches!(condition, Condition::In(_))).flat_map(Condition::values);
        if listed().next().is_some() {
            return listed().any(|value| holds(Some(value)));
        }
        // Some value is in no list.
        holds(None) || !of_key().any(|condition| *condition == Condition::DoesNotExist)
    })
}

impl Selector {
    /// None: there is no requirement, which is no selector.
    pub fn new(mut requirements: Vec<Requirement>) -> Option<Self> {
        requirements.sort_unstable();
        requirements.dedup();
        (!requirements.is_empty()).then(|| Self(requirements.into()))
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    /// Whether a worker with these labels may run the task.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// What it adds to a record, roughly, in bytes: its texts, and the tag and the length of each.
    pub fn bytes_in_record(&self) -> usize {
        self.0.iter().map(|requirement| 8 + requirement.bytes() + 3 * requirement.condition.values().count()).sum()
    }

    /// Of the texts, together.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Requirement::bytes).sum()
    }
}

impl fmt::Display for Selector {
    /// As `--require` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, condition } = self;
        let list = || condition.values().collect::<Vec<_>>().join(",");
        match condition {
            Condition::In(values) if values.len() == 1 => write!(f, "{key}={}", list()),
            Condition::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list()),
            Condition::In(_) => write!(f, "{key} in ({})", list()),
            Condition::NotIn(_) => write!(f, "{key} notin ({})", list()),
            Condition::Exists => write!(f, "{key}"),
            Condition::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[&str]) -> BTreeSet<Box<str>> {
        values.iter().map(|value| Box::from(*value)).collect()
    }

    fn of(key: &str, condition: Condition) -> Requirement {
        Requirement { key: key.into(), condition }
    }

    fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_requirement_holds_as_in_kubernetes_also_where_the_label_is_missing() {
        let conditions = [
            Condition::In(values(&["a", "b"])),
            Condition::NotIn(values(&["a", "b"])),
            Condition::Exists,
            Condition::DoesNotExist,
        ];
        let holds = |value| conditions.each_ref().map(|condition| condition.holds(value));
        assert_eq!(holds(Some("b")), [true, false, true, false]);
        assert_eq!(holds(Some("c")), [false, true, true, false]);
        assert_eq!(holds(Some("")), [false, true, true, false], "an empty value is a value");
        assert_eq!(holds(None), [false, true, false, true]);
    }

    #[test]
    fn all_requirements_hold_and_their_order_does_not_matter() {
        let zone = of("zone", Condition::In(values(&["a"])));
        let spot = of("spot", Condition::DoesNotExist);
        let selector = Selector::new(vec![zone.clone(), spot.clone()]).unwrap();
        assert!(selector.matches(&labels(&[("zone", "a"), ("ssd", "")])));
        assert!(!selector.matches(&labels(&[("zone", "a"), ("spot", "yes")])));
        assert!(!selector.matches(&labels(&[])));
        assert_eq!(selector, Selector::new(vec![spot, zone]).unwrap());
        assert_eq!((selector.to_string().as_str(), selector.bytes()), ("!spot,zone=a", 9));
        assert_eq!(Selector::new(vec![]), None);
    }

    #[test]
    fn what_no_labels_could_satisfy_is_seen() {
        let a = || of("k", Condition::In(values(&["a"])));
        let ab = || of("k", Condition::In(values(&["a", "b"])));
        let not_a = || of("k", Condition::NotIn(values(&["a"])));
        let (there, missing) = (|| of("k", Condition::Exists), || of("k", Condition::DoesNotExist));
        for possible in [
            vec![a(), ab()],
            vec![ab(), not_a(), there()],
            vec![not_a(), missing()],
            vec![not_a(), there()],
            vec![missing(), of("other", Condition::Exists)],
        ] {
            assert!(is_satisfiable(&possible), "{possible:?}");
        }
        for impossible in [
            vec![a(), not_a()],
            vec![a(), of("k", Condition::In(values(&["b"])))],
            vec![there(), missing()],
            vec![ab(), missing()],
        ] {
            assert!(!is_satisfiable(&impossible), "{impossible:?}");
        }
    }
}
