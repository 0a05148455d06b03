//! What steps produced: `cache/steps/<key>.json`.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::Path,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    LayerId,
    store::{
        Store, StoreError,
        key::{Difference, Key},
        lock::KeyLock,
        record::{self, Format},
    },
};

const FORMAT: Format = Format { name: "step", version: 1 };

/// What a step produced, and everything that decided it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The inputs.
    pub key: Key,
    /// The layer; `None` for a step that changes no file.
    pub layer: Option<LayerId>,
    /// When it was made first.
    pub created: Timestamp,
    /// How long that took.
    pub duration: Duration,
    /// Which executor ran it; `None` for steps without a process.
    pub executor: Option<String>,
    /// What else the solver keeps of the step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

/// A point in time in whole seconds since 1970, leap seconds not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The present, by the system's clock.
    pub fn now() -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => seconds(since),
            Err(before) => -seconds(before.duration()),
        })
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, as OCI configurations have it: `2024-05-01T12:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads RFC 3339; a fraction of a second is dropped.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_second()))
    }
}

/// The record in this file, if it can be read.
pub(super) fn read_record(path: &Path) -> Option<StepRecord> {
    record::read(FORMAT, path).ok()?
}

impl Store {
    /// What the step with this key produced; `None` if that is not known. Whether the layer still exists is for
    /// [`Store::layer`] to say.
    ///
    /// # Errors
    /// Fails when there is a record that may not be read.
    pub fn step(&self, key: &Key) -> Result<Option<StepRecord>, StoreError> {
        let path = self.layout().step(&key.digest());
        let record: Option<StepRecord> = record::read(FORMAT, &path)?;
        let record = record.filter(|record| record.key == *key);
        if record.is_some() {
            record::note_use(&path);
        }
        Ok(record)
    }

    /// Remembers what a step produced. Its layer must be published before.
    ///
    /// # Errors
    /// Fails when the disk is full; an earlier record of the same step stays then.
    pub fn publish_step(&self, record: &StepRecord) -> Result<(), StoreError> {
        let path = self.layout().step(&record.key.digest());
        let pending = self.pending_file()?;
        let bytes = record::encode(FORMAT, record, &path)?;
        pending.file().write_all(&bytes).map_err(|error| StoreError::io("write", &path, error))?;
        // No sync: a record that a power failure cuts off is seen to be so, and counts as absent.
        pending.rename(&path)
    }

    /// Every step that is remembered, in no particular order.
    ///
    /// # Errors
    /// Fails when the folder of records cannot be read.
    pub fn steps(&self) -> Result<impl Iterator<Item = StepRecord> + use<>, StoreError> {
        let folder = self.layout().folder("cache/steps");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::io("read", folder, error)),
        };
        Ok(entries.into_iter().flatten().flatten().filter_map(|entry| record::read(FORMAT, &entry.path()).ok()?))
    }

    /// The remembered step that comes closest to `key`, the latest of several, and the first input in which `key`
    /// differs from it. Reads all records.
    ///
    /// # Errors
    /// Fails when the folder of records cannot be read.
    pub fn closest_step(&self, key: &Key) -> Result<Option<(StepRecord, Difference)>, StoreError> {
        let closest = self
            .steps()?
            .filter(|record| record.key.kind() == key.kind() && record.key != *key)
            .map(|record| ((key.common_inputs(&record.key), record.created), record))
            .max_by_key(|(rank, _)| *rank);
        Ok(closest.and_then(|(_, record)| {
            let difference = key.difference(&record.key)?;
            Some((record, difference))
        }))
    }

    /// Waits until no one else, in this process or another, has the lock on the step, and takes it.
    ///
    /// Dropping the future ends the wait. Who has the lock should look once more whether the step is done by now. To
    /// hold one while waiting for another asks for a deadlock.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub async fn lock_step(&self, key: &Key) -> Result<KeyLock, StoreError> {
        KeyLock::acquire(&self.layout().step_lock(&key.digest())).await
    }

    /// Takes the lock on the step if no one has it.
    ///
    /// # Errors
    /// Fails when the store cannot be written to.
    pub fn try_lock_step(&self, key: &Key) -> Result<Option<KeyLock>, StoreError> {
        KeyLock::try_acquire(&self.layout().step_lock(&key.digest()))
    }
}
