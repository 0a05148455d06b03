//! How records are written: a line that describes the body, then the body as JSON.
//!
//! ```text
//! {"format":"step","version":1,"length":171,"digest":"0f3c..."}
//! {"key":{...},...}
//! ```
//!
//! A record that is cut off, altered or of another version counts as absent: the work it remembers is done again.
//! For that reason a record need not be synced to disk when it is written.

use std::{
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, store::StoreError};

/// What a record is of, and in which version of its fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) version: u32,
}

/// A use is noted again after this time.
const NOTED: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    length: usize,
    digest: Digest,
}

/// The bytes of a record; `path` only serves the error.
pub(super) fn encode<T: Serialize>(format: Format, value: &T, path: &Path) -> Result<Vec<u8>, StoreError> {
    let error = |source| StoreError::Encode { path: path.to_owned(), source };
    let body = serde_json::to_vec(value).map_err(error)?;
    let header = Header {
        format: format.name.to_owned(),
        version: format.version,
        length: body.len(),
        digest: Digest::of(&body),
    };
    let mut bytes = serde_json::to_vec(&header).map_err(error)?;
    bytes.reserve_exact(body.len() + 2);
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the record at `path`; `None` when there is none, or none that can be read.
pub(super) fn read<T: DeserializeOwned>(format: Format, path: &Path) -> Result<Option<T>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    match decode(format, &bytes) {
        Ok(value) => Ok(Some(value)),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "ignoring an unreadable record");
            Ok(None)
        }
    }
}

/// Lets the time of the file say that the record was of use, for pruning to go by.
pub(super) fn note_use(path: &Path) {
    let Ok(file) = fs::File::open(path) else { return };
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    if age.is_none_or(|age| age > NOTED) {
        // Nothing depends on it, and the store may be somebody else's.
        let _ = file.set_modified(SystemTime::now());
    }
}

fn decode<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|error| error.to_string())?;
    if header.format != format.name || header.version != format.version {
        return Err(format!("it holds {} version {}", header.format, header.version));
    }
    let body = bytes[end + 1..].strip_suffix(b"\n").ok_or("it is cut off")?;
    if body.len() != header.length {
        return Err(format!("it has {} bytes instead of {}", body.len(), header.length));
    }
    if Digest::of(body) != header.digest {
        return Err("its digest is wrong".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { name: "test", version: 3 };

    #[test]
    fn record_damaged_anywhere_is_absent() -> Result<(), StoreError> {
        let value = vec!["a".to_owned(), "b\n".to_owned()];
        let bytes = encode(FORMAT, &value, Path::new("record"))?;
        assert_eq!(decode::<Vec<String>>(FORMAT, &bytes), Ok(value));
        for length in 0..bytes.len() {
            assert!(decode::<Vec<String>>(FORMAT, &bytes[..length]).is_err(), "cut to {length}");
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        for index in end..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 1;
            assert!(decode::<Vec<String>>(FORMAT, &damaged).is_err(), "altered at {index}");
        }
        Ok(())
    }

    #[test]
    fn record_of_another_format_or_version_is_absent() -> Result<(), StoreError> {
        let bytes = encode(FORMAT, &1, Path::new("record"))?;
        for format in [Format { version: 4, ..FORMAT }, Format { name: "other", ..FORMAT }] {
            assert!(decode::<i32>(format, &bytes).is_err(), "{format:?}");
        }
        Ok(())
    }
}
