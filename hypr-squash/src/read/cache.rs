//! A small bounded cache.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Keeps the values used last, at most twice `capacity` of them.
///
/// Values live in two generations: when the young one is full it becomes the old one, whose unused values are then
/// forgotten together. That needs no list of uses and costs two look-ups at most.
#[derive(Debug)]
pub(super) struct Cache<V> {
    young: HashMap<u64, V, BuildHasherDefault<Mixed>>,
    old: HashMap<u64, V, BuildHasherDefault<Mixed>>,
    capacity: usize,
}

/// Mixes an offset. There are too few of them in a cache for chosen ones to do harm.
#[derive(Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), capacity }
    }

    pub(super) fn get(&mut self, key: u64) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: u64, value: V) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut cache = Cache::new(4);
        cache.insert(1000, "kept");
        for key in 0..100 {
            cache.insert(key, "passing");
            assert_eq!(cache.get(1000), Some("kept"));
        }
        assert_eq!(cache.get(0), None);
        assert!(cache.young.len() + cache.old.len() <= 8);
    }
}
