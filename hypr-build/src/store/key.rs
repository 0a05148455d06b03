//! Cache keys: a recorded structure of named inputs, found again by its digest.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Everything that decides what a step produces, in order; its digest is what the step is looked up by.
///
/// The structure itself is kept in the step's record, so that [`difference`](Self::difference) can tell why a later
/// build did not find it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    kind: String,
    inputs: Vec<Input>,
}

/// One named input of a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Input {
    /// What it is, such as `argv` or `parent`.
    pub name: String,
    /// Its value; a digest where the value is large.
    pub value: String,
}

impl Key {
    /// Changing this, or how [`digest`](Self::digest) encodes, makes every earlier record unreachable.
    const CONTEXT: &'static str = "hypr cache key v1";

    /// A key without inputs for a step of `kind`, such as `run` or `copy`.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), inputs: Vec::new() }
    }

    /// This key with one more input. The order of inputs counts, and a name may occur several times.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds an input in place, for loops.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.inputs.push(Input { name: name.into(), value: value.into() });
    }

    /// The kind of step.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The inputs in order.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The digest of kind and inputs. Every string is preceded by its length, so that no two keys encode alike.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(Self::CONTEXT);
        let mut update = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        update(&self.kind);
        for Input { name, value } in &self.inputs {
            update(name);
            update(value);
        }
        hasher.finalize().into()
    }

    /// The first input in which `self` differs from `earlier`, or `None` if they are equal.
    pub fn difference(&self, earlier: &Self) -> Option<Difference> {
        if self.kind != earlier.kind {
            let (then, now) = (Some(earlier.kind.clone()), Some(self.kind.clone()));
            return Some(Difference { name: "kind".to_owned(), then, now });
        }
        let mut now = self.inputs.iter();
        let mut then = earlier.inputs.iter();
        loop {
            match (then.next(), now.next()) {
                (None, None) => return None,
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) if a.name == b.name => {
                    let (then, now) = (Some(a.value.clone()), Some(b.value.clone()));
                    return Some(Difference { name: a.name.clone(), then, now });
                }
                // Names differ: an input was left out if the present name is found later in the earlier key, else
                // it is new.
                (Some(a), Some(b)) if then.any(|input| input.name == b.name) => {
                    return Some(Difference { name: a.name.clone(), then: Some(a.value.clone()), now: None });
                }
                (_, Some(b)) => {
                    return Some(Difference { name: b.name.clone(), then: None, now: Some(b.value.clone()) });
                }
                (Some(a), None) => {
                    return Some(Difference { name: a.name.clone(), then: Some(a.value.clone()), now: None });
                }
            }
        }
    }

    /// How many inputs from the start are equal; the larger, the closer two keys are.
    pub(super) fn common_inputs(&self, other: &Self) -> usize {
        self.inputs.iter().filter(|input| other.inputs.contains(input)).count()
    }
}

/// Where two keys part: the reason why a step was not found in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The input's name.
    pub name: String,
    /// Its value in the earlier key; `None` if it had no such input there.
    pub then: Option<String>,
    /// Its value in the present key; `None` if it has no such input now.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.then, &self.now) {
            (Some(then), Some(now)) => write!(f, "{name} was {then:?} and is {now:?}"),
            (None, Some(now)) => write!(f, "{name} is new: {now:?}"),
            (Some(then), None) => write!(f, "{name} is gone: {then:?}"),
            (None, None) => write!(f, "{name} differs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(inputs: &[(&str, &str)]) -> Key {
        inputs.iter().fold(Key::new("run"), |key, (name, value)| key.input(*name, *value))
    }

    #[test]
    fn digest_is_stable_between_versions() {
        // A new value here throws away every cache in the field: do it on purpose or not at all.
        let key = key(&[("parent", "p"), ("argv", "make")]);
        assert_eq!(key.digest().to_string(), "6247764a0fc54afc9c7fa236cf8a012ee8996e90ded679521d504e1562ad91e9");
    }

    #[test]
    fn difference_names_the_first_input_that_changed_came_or_went() {
        let base = key(&[("parent", "p"), ("env", "A=1"), ("argv", "make")]);
        let rows = [
            (key(&[("parent", "q"), ("env", "A=2"), ("argv", "make")]), r#"parent was "p" and is "q""#),
            (key(&[("parent", "p"), ("env", "A=1"), ("argv", "make all")]), r#"argv was "make" and is "make all""#),
            (key(&[("parent", "p"), ("argv", "make")]), r#"env is gone: "A=1""#),
            (key(&[("parent", "p"), ("env", "A=1"), ("user", "0"), ("argv", "make")]), r#"user is new: "0""#),
            (key(&[("parent", "p"), ("env", "A=1"), ("argv", "make"), ("cwd", "/")]), r#"cwd is new: "/""#),
            (key(&[("parent", "p"), ("env", "A=1")]), r#"argv is gone: "make""#),
            (Key::new("copy"), r#"kind was "run" and is "copy""#),
        ];
        for (now, expected) in rows {
            assert_eq!(now.difference(&base).map(|d| d.to_string()).as_deref(), Some(expected));
        }
        assert_eq!(base.difference(&base), None);
    }

    fn keys() -> impl Strategy<Value = Key> {
        // A small alphabet and short strings, so that ambiguous encodings would really meet.
        let text = "[ab\u{0}\u{1}]{0,3}";
        (text, prop::collection::vec((text, text), 0..4))
            .prop_map(|(kind, inputs)| inputs.into_iter().fold(Key::new(kind), |key, (n, v)| key.input(n, v)))
    }

    proptest! {
        #[test]
        fn keys_have_one_digest_exactly_if_they_are_equal(a in keys(), b in keys()) {
            prop_assert_eq!(a == b, a.digest() == b.digest());
            prop_assert_eq!(a == b, a.difference(&b).is_none());
        }

        #[test]
        fn keys_survive_json(key in keys()) {
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
        }
    }
}
