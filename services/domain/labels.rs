//! A task's labels: a few short texts under short keys. A leader holds those of a million tasks, most with none or one, so
//! that they take little more than their texts: a map of its own takes half a KiB for the first.

use std::collections::BTreeMap;

/// Sorted by their keys, each there once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        // So few that a search would be slower.
        self.iter().find(|(of, _)| *of == key).map(|(_, value)| value)
    }

    /// Of the texts, together.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl From<&Labels> for BTreeMap<String, String> {
    fn from(labels: &Labels) -> Self {
        // Not collected: that would sort them first, and most have one.
        let mut map = Self::new();
        for (key, value) in labels.iter() {
            map.insert(key.to_owned(), value.to_owned());
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_map() {
        let map = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let labels = Labels::from(map.clone());
        assert_eq!((labels.get("a"), labels.get("b"), labels.get("c")), (Some("1"), Some("2"), None));
        assert_eq!((labels.len(), labels.bytes()), (2, 4));
        assert_eq!(BTreeMap::from(&labels), map);
        assert!(Labels::default().is_empty());
    }
}
