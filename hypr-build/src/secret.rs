//! Secrets of a build: where they come from, and what keeps them out of layers and logs.

use std::{
    fmt, fs,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use memchr::memmem;

/// The longest secret, as in BuildKit.
const LONGEST: u64 = 500 << 10;

/// Shorter ones are found by chance in any file.
const SHORTEST_SOUGHT: usize = 8;

/// Where a secret that `RUN --mount=type=secret` asks for comes from. It is read when a step first needs it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secret {
    /// A file of the host.
    File(PathBuf),
    /// A variable of this process's environment.
    Variable(String),
    /// These bytes.
    Value(Arc<[u8]>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Variable(name) => f.debug_tuple("Variable").field(name).finish(),
            Self::Value(_) => f.debug_tuple("Value").finish_non_exhaustive(),
        }
    }
}

impl Secret {
    /// The secret's bytes. The error says what is wrong and nothing of the content.
    pub(crate) fn read(&self) -> io::Result<Arc<[u8]>> {
        let told = |error: io::Error, what: String| io::Error::new(error.kind(), format!("{what}: {error}"));
        match self {
            Self::Value(bytes) => Ok(Arc::clone(bytes)),
            Self::Variable(name) => match std::env::var_os(name) {
                Some(value) => Ok(value.into_encoded_bytes().into()),
                None => Err(io::Error::other(format!("the variable `{name}` is not set"))),
            },
            Self::File(path) => {
                let what = || format!("cannot read {}", path.display());
                let file = fs::File::open(path).map_err(|error| told(error, what()))?;
                let mut bytes = Vec::new();
                file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| told(error, what()))?;
                if bytes.len() as u64 > LONGEST {
                    return Err(io::Error::other(format!("{} is longer than {} KiB", path.display(), LONGEST >> 10)));
                }
                Ok(bytes.into())
            }
        }
    }
}

/// The secrets of one step, as they are looked for. A line end after one does not count.
#[derive(Clone, Default)]
pub(crate) struct Sought(Arc<[Vec<u8>]>);

impl Sought {
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a [u8]>) -> Self {
        let trimmed = secrets.map(|secret| secret.trim_ascii_end().to_vec());
        Self(trimmed.filter(|secret| secret.len() >= SHORTEST_SOUGHT).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first secret in `bytes`: where, and how long it is. Of two that begin at one place, the longer.
    fn first(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let places = self.0.iter().filter_map(|secret| Some((memmem::find(bytes, secret)?, secret.len())));
        places.min_by_key(|(place, length)| (*place, usize::MAX - length))
    }

    /// How many bytes at the end of `bytes` may be the beginning of a secret.
    fn begun(&self, bytes: &[u8]) -> usize {
        let begun = |secret: &Vec<u8>| {
            let longest = (secret.len() - 1).min(bytes.len());
            (1..=longest).rev().find(|&length| secret.starts_with(&bytes[bytes.len() - length..]))
        };
        self.0.iter().filter_map(begun).max().unwrap_or(0)
    }
}

/// Takes the secrets out of a stream of output.
#[derive(Default)]
pub(crate) struct Redactor {
    sought: Sought,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
}

impl Redactor {
    pub(crate) fn new(sought: Sought) -> Self {
        Self { sought, held: Vec::new() }
    }

    /// What of the output can be shown now.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.sought.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let mut shown = Vec::new();
        while let Some((place, length)) = self.sought.first(&self.held) {
            shown.extend_from_slice(&self.held[..place]);
            shown.extend_from_slice(b"*****");
            self.held.drain(..place + length);
        }
        let safe = self.held.len() - self.sought.begun(&self.held);
        shown.extend(self.held.drain(..safe));
        shown
    }

    /// What was held back and turned out to be no secret.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// A reader that fails when a secret comes by.
pub(crate) struct Watched<R> {
    inner: R,
    sought: Sought,
    /// The end of what was read, as far as it may be the beginning of a secret.
    begun: Vec<u8>,
}

/// The error of [`Watched`].
#[derive(Debug)]
pub(crate) struct Leaked;

impl fmt::Display for Leaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the step wrote one of its secrets into the image")
    }
}

impl std::error::Error for Leaked {}

impl<R> Watched<R> {
    pub(crate) fn new(inner: R, sought: Sought) -> Self {
        Self { inner, sought, begun: Vec::new() }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if !self.sought.is_empty() {
            self.begun.extend_from_slice(&buffer[..length]);
            if self.sought.first(&self.begun).is_some() {
                return Err(io::Error::other(Leaked));
            }
            let keep = self.sought.begun(&self.begun);
            self.begun.drain(..self.begun.len() - keep);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(secrets: &[&[u8]]) -> Sought {
        Sought::new(secrets.iter().copied())
    }

    #[test]
    fn secrets_are_taken_out_however_they_are_cut() {
        let text = b"a correct-horse b correct-hor c correct-horse-battery\ncorrect-hors";
        let secrets = sought(&[b"correct-horse\n", b"correct-horse-battery", b"short"]);
        for size in 1..text.len() {
            let mut redactor = Redactor::new(secrets.clone());
            let mut shown: Vec<u8> = text.chunks(size).flat_map(|part| redactor.feed(part)).collect();
            shown.extend(redactor.rest());
            let shown = String::from_utf8(shown).unwrap();
            assert!(!shown.contains("correct-horse"), "{shown}");
            assert!(shown.starts_with("a ***** b correct-hor c *****"), "{shown}");
            assert!(shown.ends_with("\ncorrect-hors"), "{shown}");
        }
    }

    #[test]
    fn output_without_secrets_is_not_held_back() {
        let mut redactor = Redactor::new(sought(&[b"tiny"]));
        assert_eq!(redactor.feed(b"ti"), b"ti");
    }

    #[test]
    fn a_secret_that_comes_by_ends_the_reading() {
        let bytes = [&[b'x'; 5000][..], b"correct-horse", &[b'y'; 10]].concat();
        for (secret, leaks) in [(&b"correct-horse"[..], true), (b"another-one", false)] {
            let slow = io::BufReader::with_capacity(7, &bytes[..]);
            let mut read = Vec::new();
            let result = Watched::new(slow, sought(&[secret])).read_to_end(&mut read);
            assert_eq!(result.is_err_and(|error| error.downcast::<Leaked>().is_ok()), leaks);
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_without_it() {
        let error = Secret::File("/no/such/file".into()).read().unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        assert!(Secret::Variable("HYPR_NO_SUCH_VARIABLE".into()).read().is_err());
        assert!(!format!("{:?}", Secret::Value(b"correct-horse"[..].into())).contains("99"));
    }
}
