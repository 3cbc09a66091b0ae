//! A tree of znodes in memory. It does what ZooKeeper promises of one write: all of its operations happen, in order, or
//! none does and the first that cannot says why. It knows nothing of Herdsman, of clients and of time.

use std::{collections::BTreeMap, sync::Arc};

use crate::store::zookeeper::proof::{CreateMode, Error, Expect, Operations, Version, paths};

/// Whose an ephemeral node is.
pub type Session = i64;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub data: Arc<[u8]>,
    pub version: i32,
    /// Some: it is ephemeral, and goes with this session.
    pub owner: Option<Session>,
    /// Children that it has had, which is what the next sequential one is numbered by.
    children: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operation {
    Check { path: String, expect: Expect },
    Create { path: String, data: Arc<[u8]>, ephemeral: bool },
    Set { path: String, data: Arc<[u8]>, expect: Expect },
    Delete { path: String, expect: Expect },
}

impl Operation {
    pub fn path(&self) -> &str {
        match self {
            Self::Check { path, .. }
            | Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }
}

/// One write that is being put together, as for ZooKeeper.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Request(pub Vec<Operation>);

impl Operations for Request {
    fn check(&mut self, path: String, expect: Expect) -> Result<(), Error> {
        self.0.push(Operation::Check { path, expect });
        Ok(())
    }

    fn create(&mut self, path: String, data: &[u8], mode: CreateMode) -> Result<(), Error> {
        let ephemeral = match mode {
            CreateMode::Persistent => false,
            CreateMode::Ephemeral => true,
            _ => return Err(Error::BadArguments(&"no write of Herdsman's creates such a node")),
        };
        self.0.push(Operation::Create { path, data: data.into(), ephemeral });
        Ok(())
    }

    fn set(&mut self, path: String, data: &[u8], expect: Expect) -> Result<(), Error> {
        self.0.push(Operation::Set { path, data: data.into(), expect });
        Ok(())
    }

    fn delete(&mut self, path: String, expect: Expect) -> Result<(), Error> {
        self.0.push(Operation::Delete { path, expect });
        Ok(())
    }
}

/// Why nothing of a write happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of the operation that could not be done.
    pub path: String,
    pub error: Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Default for Tree {
    /// The root and nothing below it.
    fn default() -> Self {
        let root = Node { data: Arc::from(&[][..]), version: 0, owner: None, children: 0 };
        Self { nodes: [(paths::ROOT.to_owned(), root)].into() }
    }
}

impl Tree {
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Every node, by path, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The names of the children and what they are, in order.
    pub fn children<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let below = if path == paths::ROOT { path.to_owned() } else { format!("{path}/") };
        let from = self.nodes.range(below.clone()..);
        from.map_while(move |(path, node)| Some((path.strip_prefix(&below)?, node)))
            .filter(|(name, _)| !name.is_empty() && !name.contains('/'))
    }

    /// Does all operations in order, or none.
    ///
    /// # Errors
    /// None was done, because of this one.
    pub fn apply(&mut self, session: Session, operations: &[Operation]) -> Result<(), Refused> {
        let mut before = Vec::new();
        for operation in operations {
            if let Err(error) = self.apply_one(session, operation, &mut before) {
                for (path, node) in before.into_iter().rev() {
                    self.put(path, node);
                }
                return Err(Refused { path: operation.path().to_owned(), error });
            }
        }
        Ok(())
    }

    /// Creates an ephemeral node whose name ends with the next number of its parent; its path.
    ///
    /// # Errors
    /// The parent is missing.
    pub fn create_sequential(&mut self, session: Session, prefix: &str, data: &[u8]) -> Result<String, Refused> {
        let number = self.get(parent(prefix)).map_or(0, |parent| parent.children);
        let path = format!("{prefix}{number:010}");
        let create = Operation::Create { path: path.clone(), data: data.into(), ephemeral: true };
        self.apply(session, &[create]).map(|()| path)
    }

    /// The end of a session: its nodes go. Returns their paths.
    pub fn end(&mut self, session: Session) -> Vec<String> {
        let owned = self.nodes.iter().filter(|(_, node)| node.owner == Some(session));
        let owned: Vec<_> = owned.map(|(path, _)| path.clone()).collect();
        for path in &owned {
            self.nodes.remove(path);
        }
        owned
    }

    fn apply_one(
        &mut self,
        session: Session,
        operation: &Operation,
        before: &mut Vec<(String, Option<Node>)>,
    ) -> Result<(), Error> {
        match operation {
            Operation::Check { path, expect } => self.expect(path, *expect).map(drop),
            Operation::Create { path, data, ephemeral } => {
                if self.nodes.contains_key(path) {
                    return Err(Error::NodeExists);
                }
                let above = self.nodes.get_mut(parent(path)).ok_or(Error::NoNode)?;
                if above.owner.is_some() {
                    return Err(Error::NoChildrenForEphemerals);
                }
                before.push((parent(path).to_owned(), Some(above.clone())));
                above.children += 1;
                let owner = ephemeral.then_some(session);
                let node = Node { data: data.clone(), version: 0, owner, children: 0 };
                before.push((path.clone(), self.nodes.insert(path.clone(), node)));
                Ok(())
            }
            Operation::Set { path, data, expect } => {
                let mut node = self.expect(path, *expect)?.clone();
                node.data = data.clone();
                node.version = node.version.wrapping_add(1);
                before.push((path.clone(), self.nodes.insert(path.clone(), node)));
                Ok(())
            }
            Operation::Delete { path, expect } => {
                self.expect(path, *expect)?;
                if self.children(path).next().is_some() {
                    return Err(Error::NotEmpty);
                }
                before.push((path.clone(), self.nodes.remove(path)));
                Ok(())
            }
        }
    }

    fn expect(&self, path: &str, expect: Expect) -> Result<&Node, Error> {
        let node = self.get(path).ok_or(Error::NoNode)?;
        match expect {
            Expect::Version(version) if Version::new(node.version) != Some(version) => Err(Error::BadVersion),
            Expect::Version(_) | Expect::Present => Ok(node),
        }
    }

    fn put(&mut self, path: String, node: Option<Node>) {
        match node {
            Some(node) => self.nodes.insert(path, node),
            None => self.nodes.remove(&path),
        };
    }
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => paths::ROOT,
        Some((parent, _)) => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Change, Term},
        store::zookeeper::proof::{Chain, Known},
    };

    fn tree(operations: &[Operation]) -> Tree {
        let mut tree = Tree::default();
        tree.apply(1, operations).unwrap();
        tree
    }

    fn create(path: &str, ephemeral: bool) -> Operation {
        Operation::Create { path: path.into(), data: Arc::from(&b"x"[..]), ephemeral }
    }

    fn set(path: &str, expect: Expect) -> Operation {
        Operation::Set { path: path.into(), data: Arc::from(&b"y"[..]), expect }
    }

    fn delete(path: &str) -> Operation {
        Operation::Delete { path: path.into(), expect: Expect::Present }
    }

    fn version(version: i32) -> Expect {
        Expect::Version(Version::new(version).unwrap())
    }

    #[test]
    fn a_write_that_is_refused_leaves_nothing_behind() {
        let before = tree(&[create("/a", false), create("/a/b", false)]);
        for (last, path, error) in [
            (create("/a/b", false), "/a/b", Error::NodeExists),
            (create("/none/b", false), "/none/b", Error::NoNode),
            (set("/a", version(2)), "/a", Error::BadVersion),
            (delete("/a"), "/a", Error::NotEmpty),
            (delete("/b"), "/b", Error::NoNode),
            (create("/c/d", false), "/c/d", Error::NoChildrenForEphemerals),
        ] {
            let mut tree = before.clone();
            let first = [set("/a", version(0)), create("/c", true), delete("/a/b"), create("/a/b", false)];
            let refused = tree.apply(2, &[&first[..], &[last]].concat()).unwrap_err();
            assert_eq!(refused, Refused { path: path.into(), error });
            assert_eq!(tree, before, "{path}");
        }
    }

    #[test]
    fn a_session_takes_its_own_nodes_along() {
        let mut tree = tree(&[create("/a", false)]);
        tree.apply(1, &[create("/a/mine", true)]).unwrap();
        tree.apply(2, &[create("/a/theirs", true), set("/a/mine", version(0))]).unwrap();
        assert_eq!(tree.end(1), ["/a/mine"]);
        assert_eq!(tree.children("/a").map(|(name, _)| name).collect::<Vec<_>>(), ["theirs"]);
    }

    #[test]
    fn numbers_of_a_line_are_never_given_twice() {
        let mut tree = tree(&[create("/line", false), create("/line/zero", false), delete("/line/zero")]);
        assert_eq!(tree.create_sequential(1, "/line/x-", b"").unwrap(), "/line/x-0000000001");
        tree.end(1);
        assert_eq!(tree.create_sequential(2, "/line/x-", b"").unwrap(), "/line/x-0000000002");
    }

    #[test]
    fn children_are_those_one_step_below() {
        let tree = tree(&[create("/a", false), create("/a-b", false), create("/a/b", false), create("/a/b/c", false)]);
        assert_eq!(tree.children("/a").map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(tree.children("/").map(|(name, _)| name).collect::<Vec<_>>(), ["a", "a-b"]);
    }

    #[test]
    fn commits_behind_one_that_was_refused_are_refused_and_so_is_a_leader_without_its_place() {
        let mut tree = tree(&[create("/election", false), create("/tasks", false), create("/assign", false)]);
        let place = tree.create_sequential(1, "/election/x-latch-", b"").unwrap();
        let mut chain = Chain::new(Term(1), Version::new(0).unwrap());
        let mut known = Known::default();
        let mut commit = |changes: &[Change]| {
            let mut request = Request::default();
            chain.follow_on(&place, &mut known, changes, &mut request).unwrap();
            request.0
        };
        let swept = Change::Swept { task_id: "none".parse().unwrap(), worker: "w".parse().unwrap() };
        let commits = [commit(&[]), commit(&[swept]), commit(&[])];
        tree.apply(1, &commits[0]).unwrap();
        assert_eq!(tree.apply(1, &commits[1]).unwrap_err().path, "/assign/w/none");
        let refused = Refused { path: "/tasks".into(), error: Error::BadVersion };
        assert_eq!(tree.apply(1, &commits[2]), Err(refused));
        tree.end(1);
        assert_eq!(tree.apply(1, &commits[1]), Err(Refused { path: place, error: Error::NoNode }));
    }
}
