//! Visits every node of a union once.

use super::Node;
use crate::Error;

/// Bytes of a path that a walk reaches; deeper trees only serve to exhaust memory.
const PATH_LIMIT: usize = 4096;

/// The nodes of an [`Overlay`](super::Overlay) with their paths. After an error there is nothing more.
#[derive(Debug)]
pub struct Walk {
    /// What is still to visit, the next one last.
    stack: Vec<(Vec<u8>, Node)>,
    /// Why not even the root can be visited.
    failure: Option<Error>,
}

impl Walk {
    pub(super) fn new(path: &[u8], root: Result<Node, Error>) -> Self {
        match root {
            Ok(root) => Self { stack: vec![(path.to_vec(), root)], failure: None },
            Err(error) => Self { stack: Vec::new(), failure: Some(error) },
        }
    }

    fn push_entries(&mut self, path: &[u8], node: &Node) -> Result<(), Error> {
        for (name, child) in node.read_dir().map_err(|error| error.at(path))?.into_iter().rev() {
            let path = if path.is_empty() { name } else { [path, b"/", &name].concat() };
            if path.len() > PATH_LIMIT {
                return Err(Error::path(&path[..64], "the path has more than 4096 bytes"));
            }
            self.stack.push((path, child));
        }
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Result<(Vec<u8>, Node), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            return Some(Err(error));
        }
        let (path, node) = self.stack.pop()?;
        if let Err(error) = self.push_entries(&path, &node) {
            self.stack.clear();
            return Some(Err(error));
        }
        Some(Ok((path, node)))
    }
}
